"""The official google-genai package through keyferry: version 3 calls /v1, version 2 /v1beta."""

import asyncio

import pytest
import stage
from google import genai
from google.genai import errors, types

WEATHER = "How is the weather in Lisbon?"
TOOLS = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[types.FunctionDeclaration(
    name="get_weather", parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}})])])
CLASSES = {400: errors.ClientError, 401: errors.ClientError, 429: errors.ClientError, 500: errors.ServerError}
VERSION = {"newest": "v1", "before": "v1beta"}[stage.GENERATION]


def client(mode, token="acme", headers=None, **more):
    """A client; a test has to hold on to it, as it closes its connections when it is collected."""
    http_options = types.HttpOptions(
        base_url=stage.base_url("gemini"),
        headers=mode.headers("gemini", token) if headers is None else headers,
        **more,
    )
    return genai.Client(api_key=mode.key("gemini", token), http_options=http_options)


def hello(gemini, model="gemini-mock"):
    return gemini.models.generate_content(model=model, contents="hello")


def code_of(error):
    """The integer code and the named status are Google's; ours is the reason of an ErrorInfo."""
    body = error.details["error"]
    assert body["code"] == error.code
    return next(detail["reason"] for detail in body["details"] if detail["@type"].endswith("google.rpc.ErrorInfo"))


def test_content_is_generated(mode, wire):
    answer = hello(client(mode))
    assert answer.text == "Hello from the mock."
    assert answer.usage_metadata.total_token_count > 0
    assert wire.arrived_as_sent(mode, "gemini")["target"] == f"/{VERSION}/models/gemini-mock:generateContent"


def test_the_async_client_works_too(mode, wire):
    async def ask():
        gemini = client(mode)
        stream = await gemini.aio.models.generate_content_stream(model="gemini-mock", contents="hello")
        return "".join([chunk.text async for chunk in stream])

    assert asyncio.run(ask()) == "Hello from the mock."
    wire.arrived_as_sent(mode, "gemini")


def test_a_content_stream_arrives_in_pieces(mode, wire):
    gemini = client(mode)
    chunks = gemini.models.generate_content_stream(model="gemini-mock", contents="hello")
    pieces = [chunk.text for chunk in chunks]
    assert "".join(pieces) == "Hello from the mock."
    assert len(pieces) > 1
    assert wire.arrived_as_sent(mode, "gemini")["target"].endswith(":streamGenerateContent?alt=sse")


def test_a_tool_call_makes_a_round_trip(mode, wire):
    gemini = client(mode)
    asked = gemini.models.generate_content(model="gemini-mock", contents=WEATHER, config=TOOLS)
    call = asked.function_calls[0]
    assert (call.name, call.args) == ("get_weather", {"city": "Lisbon"})
    wire.arrived_as_sent(mode, "gemini")

    result = types.Part.from_function_response(name="get_weather", response={"degrees": 21})
    contents = [
        types.Content(role="user", parts=[types.Part(text=WEATHER)]),
        asked.candidates[0].content,
        types.Content(role="user", parts=[result]),
    ]
    answer = gemini.models.generate_content(model="gemini-mock", contents=contents, config=TOOLS)
    assert answer.text == "It is 21 degrees in Lisbon."
    wire.arrived_as_sent(mode, "gemini")


def test_a_tool_call_can_be_streamed(mode, wire):
    gemini = client(mode)
    chunks = gemini.models.generate_content_stream(model="gemini-mock", contents=WEATHER, config=TOOLS)
    calls = [call for chunk in chunks for call in chunk.function_calls or []]
    assert [call.args for call in calls] == [{"city": "Lisbon"}]
    wire.arrived_as_sent(mode, "gemini")


def test_tokens_are_counted(mode, wire):
    gemini = client(mode)
    assert gemini.models.count_tokens(model="gemini-mock", contents="hello").total_tokens == 11
    wire.arrived_as_sent(mode, "gemini")


def test_embeddings_come_back_as_numbers(mode, wire):
    gemini = client(mode)
    answer = gemini.models.embed_content(model="embedding-mock", contents=["one", "two"])
    assert [item.values for item in answer.embeddings] == [[0.25, -0.5, 0.125]] * 2
    wire.arrived_as_sent(mode, "gemini")


def test_models_are_listed(mode, wire):
    gemini = client(mode)
    models = gemini.models.list(config={"page_size": 5})
    assert [model.name for model in models] == ["models/gemini-mock"]
    assert wire.arrived_as_sent(mode, "gemini")["target"] == f"/{VERSION}/models?pageSize=5"


def test_one_model_is_shown(mode, wire):
    gemini = client(mode)
    assert gemini.models.get(model="gemini-mock").display_name == "Gemini Mock"
    wire.arrived_as_sent(mode, "gemini")


def test_the_time_limit_reaches_google(mode, wire):
    hello(client(mode, timeout=30_000))
    headers = dict(wire.arrived_as_sent(mode, "gemini")["headers"])
    assert headers["x-server-timeout"] == "30"
    assert headers["x-goog-api-client"].startswith("google-genai-sdk/")


@pytest.mark.parametrize("status", CLASSES)
def test_an_error_of_the_provider_is_raised_as_its_own_type(mode, wire, status):
    with pytest.raises(CLASSES[status]) as caught:
        hello(client(mode), f"gemini-error-{status}")
    error = caught.value
    assert error.code == status
    assert error.message.startswith(("The mock provider", "Incorrect API key"))
    assert (error.response.headers.get("retry-after") == "7") == (status == 429)
    assert stage.DIRECT or stage.mentions_no_key(error)
    wire.arrived_as_sent(mode, "gemini")


@pytest.mark.parametrize("end", ["cut", "torn"])
def test_a_stream_that_the_provider_breaks_off_raises(mode, end):
    gemini = client(mode)
    with pytest.raises(Exception if stage.DIRECT else errors.APIError) as caught:
        stream = gemini.models.generate_content_stream(model=f"gemini-{end}", contents="hello")
        assert next(stream).text
        list(stream)
    if not stage.DIRECT:
        assert (caught.value.code, code_of(caught.value)) == (502, "BYOK_UPSTREAM_ERROR")
        assert stage.is_readable(caught.value.message)


@pytest.mark.gateway
def test_a_provider_that_hangs_up_is_our_502(mode, wire):
    with pytest.raises(errors.ServerError) as caught:
        hello(client(mode), "gemini-dead")
    assert (caught.value.code, code_of(caught.value)) == (502, "BYOK_UPSTREAM_ERROR")


def refused(wire, status, name, code, call):
    """The call is refused by the gateway itself: typed, readable, with our code and request id, and not forwarded."""
    with pytest.raises(errors.ClientError) as caught:
        call()
    error = caught.value
    assert (error.code, error.status, code_of(error)) == (status, name, code)
    assert stage.is_readable(error.message)
    assert error.response.headers["x-keyferry-request-id"]
    assert stage.mentions_no_key(error)
    wire.nothing_arrived()
    return error


@pytest.mark.gateway
def test_a_wrong_token_is_unauthorized(mode, wire):
    refused(wire, 401, "UNAUTHENTICATED", "unauthorized", lambda: hello(client(mode, "wrong")))


@pytest.mark.gateway
def test_a_provider_key_without_a_token_is_unauthorized(wire):
    gemini = client(stage.OWN_SLOT, headers={})
    refused(wire, 401, "UNAUTHENTICATED", "unauthorized", lambda: hello(gemini))


@pytest.mark.gateway
def test_a_tenant_without_a_key_is_told_so(wire):
    refused(wire, 404, "NOT_FOUND", "BYOK_KEY_NOT_FOUND", lambda: hello(client(stage.HELD, "keyless")))


@pytest.mark.gateway
@pytest.mark.parametrize("carried", [stage.HEADER, stage.OWN_SLOT], ids=lambda mode: mode.name)
def test_a_tenant_without_byok_is_told_so(wire, carried):
    refused(wire, 404, "NOT_FOUND", "BYOK_DISABLED", lambda: hello(client(carried, "disabled")))


@pytest.mark.gateway
def test_an_operation_that_is_not_offered_is_a_bad_request(mode, wire):
    gemini = client(mode)
    call = gemini.caches.list
    refused(wire, 400, "INVALID_ARGUMENT", "BYOK_UNKNOWN_OPERATION", call)


@pytest.mark.gateway
def test_a_used_up_quota_is_a_rate_limit(wire):
    gemini = client(stage.HEADER, stage.quota_token("gemini"))
    hello(gemini)
    wire.take()
    error = refused(wire, 429, "RESOURCE_EXHAUSTED", "BYOK_QUOTA_EXCEEDED", lambda: hello(gemini))
    assert int(error.response.headers["retry-after"]) > 0
