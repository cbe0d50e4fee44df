"""The official anthropic package through keyferry: version 2 sends its key as a bearer, version 1 as x-api-key."""

import asyncio

import anthropic
import pytest
import stage

TOOLS = [{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = [{"role": "user", "content": "How is the weather in Lisbon?"}]
CLASSES = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
}


def options(mode, token="acme", **more):
    return {
        "api_key": mode.key("anthropic", token),
        "base_url": stage.base_url("anthropic"),
        "default_headers": mode.headers("anthropic", token),
        "max_retries": 0,
        **more,
    }


def client(mode, token="acme", **more):
    return anthropic.Anthropic(**options(mode, token, **more))


def hello(claude, model="claude-mock"):
    return claude.messages.create(model=model, max_tokens=64, messages=HELLO)


def code_of(error):
    """The code where both generations can reach it; the newer one also reads it into an attribute."""
    code = error.body["error"]["details"]["error_code"]
    assert getattr(error, "error_code", code) == code
    return code


def test_a_message_answers(mode, wire):
    answer = hello(client(mode))
    assert answer.content[0].text == "Hello from the mock."
    assert answer.usage.output_tokens > 0
    wire.arrived_as_sent(mode, "anthropic")


def test_the_async_client_works_too(mode, wire):
    async def ask():
        async with anthropic.AsyncAnthropic(**options(mode)) as claude:
            async with claude.messages.stream(model="claude-mock", max_tokens=64, messages=HELLO) as stream:
                return "".join([text async for text in stream.text_stream])

    assert asyncio.run(ask()) == "Hello from the mock."
    wire.arrived_as_sent(mode, "anthropic")


def test_a_message_stream_arrives_in_pieces(mode, wire):
    with client(mode).messages.stream(model="claude-mock", max_tokens=64, messages=HELLO) as stream:
        pieces = list(stream.text_stream)
        assert stream.get_final_message().stop_reason == "end_turn"
    assert "".join(pieces) == "Hello from the mock."
    assert len(pieces) > 1
    wire.arrived_as_sent(mode, "anthropic")


def test_a_raw_stream_ends_with_its_last_event(mode, wire):
    events = list(client(mode).messages.create(model="claude-mock", max_tokens=64, messages=HELLO, stream=True))
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"
    wire.arrived_as_sent(mode, "anthropic")


def test_a_tool_call_makes_a_round_trip(mode, wire):
    claude = client(mode)
    asked = claude.messages.create(model="claude-mock", max_tokens=64, messages=WEATHER, tools=TOOLS)
    call = asked.content[-1]
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Lisbon"})
    wire.arrived_as_sent(mode, "anthropic")

    use = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "21"}
    messages = [*WEATHER, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    answer = claude.messages.create(model="claude-mock", max_tokens=64, messages=messages, tools=TOOLS)
    assert answer.content[0].text == "It is 21 degrees in Lisbon."
    wire.arrived_as_sent(mode, "anthropic")


def test_a_tool_call_can_be_streamed(mode, wire):
    with client(mode).messages.stream(model="claude-mock", max_tokens=64, messages=WEATHER, tools=TOOLS) as stream:
        assert stream.get_final_message().content[-1].input == {"city": "Lisbon"}
    wire.arrived_as_sent(mode, "anthropic")


def test_tokens_are_counted(mode, wire):
    assert client(mode).messages.count_tokens(model="claude-mock", messages=HELLO).input_tokens == 11
    wire.arrived_as_sent(mode, "anthropic")


def test_models_are_listed(mode, wire):
    assert [model.id for model in client(mode).models.list(limit=5)] == ["claude-mock"]
    assert wire.arrived_as_sent(mode, "anthropic")["target"] == "/v1/models?limit=5"


def test_one_model_is_shown(mode, wire):
    assert client(mode).models.retrieve("claude-mock").display_name == "Claude Mock"
    wire.arrived_as_sent(mode, "anthropic")


def test_a_beta_reaches_anthropic(mode, wire):
    client(mode, timeout=30).beta.messages.create(
        model="claude-mock", max_tokens=64, messages=HELLO, betas=["mock-2026-01-01"])
    record = wire.arrived_as_sent(mode, "anthropic")
    headers = dict(record["headers"])
    assert headers["anthropic-beta"] == "mock-2026-01-01"
    assert headers["anthropic-version"]
    assert record["target"].endswith("?beta=true") == (stage.GENERATION == "before")


@pytest.mark.parametrize("status", CLASSES)
def test_an_error_of_the_provider_is_raised_as_its_own_type(mode, wire, status):
    with pytest.raises(CLASSES[status], match="The mock provider|Incorrect API key") as caught:
        hello(client(mode), f"claude-error-{status}")
    error = caught.value
    assert error.status_code == status
    assert error.request_id.startswith("req_mock_")
    assert (error.response.headers.get("retry-after") == "7") == (status == 429)
    assert stage.DIRECT or stage.mentions_no_key(error)
    wire.arrived_as_sent(mode, "anthropic")


@pytest.mark.parametrize("end", ["cut", "torn"])
def test_a_stream_that_the_provider_breaks_off_raises(mode, end):
    claude = client(mode)
    with pytest.raises(Exception if stage.DIRECT else anthropic.APIStatusError) as caught:
        with claude.messages.stream(model=f"claude-{end}", max_tokens=64, messages=HELLO) as stream:
            assert next(stream).type == "message_start"
            stream.get_final_message()
    if not stage.DIRECT:
        assert code_of(caught.value) == "BYOK_UPSTREAM_ERROR"
        assert stage.is_readable(caught.value.body["error"]["message"])


@pytest.mark.gateway
def test_a_provider_that_hangs_up_is_our_502(mode, wire):
    with pytest.raises(anthropic.InternalServerError) as caught:
        hello(client(mode), "claude-dead")
    assert (caught.value.status_code, code_of(caught.value)) == (502, "BYOK_UPSTREAM_ERROR")


def refused(wire, error_class, code, call):
    """The call is refused by the gateway itself: typed, readable, with our code and request id, and not forwarded."""
    with pytest.raises(error_class) as caught:
        call()
    error = caught.value
    assert code_of(error) == code
    assert error.body["type"] == "error"
    assert error.type
    assert stage.is_readable(error.body["error"]["message"])
    assert error.request_id == error.response.headers["x-keyferry-request-id"]
    assert stage.mentions_no_key(error)
    wire.nothing_arrived()
    return error


@pytest.mark.gateway
def test_a_wrong_token_is_unauthorized(mode, wire):
    error = refused(wire, anthropic.AuthenticationError, "unauthorized", lambda: hello(client(mode, "wrong")))
    assert error.type == "authentication_error"


@pytest.mark.gateway
def test_a_provider_key_without_a_token_is_unauthorized(wire):
    claude = client(stage.OWN_SLOT, default_headers={})
    refused(wire, anthropic.AuthenticationError, "unauthorized", lambda: hello(claude))


@pytest.mark.gateway
def test_a_tenant_without_a_key_is_told_so(wire):
    refused(wire, anthropic.NotFoundError, "BYOK_KEY_NOT_FOUND", lambda: hello(client(stage.HELD, "keyless")))


@pytest.mark.gateway
@pytest.mark.parametrize("carried", [stage.HEADER, stage.OWN_SLOT], ids=lambda mode: mode.name)
def test_a_tenant_without_byok_is_told_so(wire, carried):
    refused(wire, anthropic.NotFoundError, "BYOK_DISABLED", lambda: hello(client(carried, "disabled")))


@pytest.mark.gateway
def test_an_operation_that_is_not_offered_is_a_bad_request(mode, wire):
    refused(wire, anthropic.BadRequestError, "BYOK_UNKNOWN_OPERATION", lambda: client(mode).messages.batches.list())


@pytest.mark.gateway
def test_a_key_in_the_query_is_a_bad_request(mode, wire):
    claude = client(mode, default_query={"api_key": "not-here"})
    refused(wire, anthropic.BadRequestError, "invalid_request", lambda: hello(claude))


@pytest.mark.gateway
def test_a_used_up_quota_is_a_rate_limit(wire):
    claude = client(stage.HEADER, stage.quota_token("anthropic"))
    hello(claude)
    wire.take()
    error = refused(wire, anthropic.RateLimitError, "BYOK_QUOTA_EXCEEDED", lambda: hello(claude))
    assert int(error.response.headers["retry-after"]) > 0
