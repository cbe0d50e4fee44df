"""The official openai package through keyferry."""

import asyncio

import openai
import pytest
import stage

TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}]
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = [{"role": "user", "content": "How is the weather in Lisbon?"}]
CLASSES = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}


def options(mode, token="acme", **more):
    return {
        "api_key": mode.key("openai", token),
        "base_url": stage.base_url("openai"),
        "default_headers": mode.headers("openai", token),
        "max_retries": 0,
        **more,
    }


def client(mode, token="acme", **more):
    return openai.OpenAI(**options(mode, token, **more))


def hello(openai_client, model="gpt-mock"):
    return openai_client.chat.completions.create(model=model, messages=HELLO)


def test_a_chat_completion_answers(mode, wire):
    answer = hello(client(mode))
    assert answer.choices[0].message.content == "Hello from the mock."
    assert answer.usage.total_tokens > 0
    wire.arrived_as_sent(mode, "openai")


def test_the_async_client_works_too(mode, wire):
    async def ask():
        async with openai.AsyncOpenAI(**options(mode)) as ai:
            stream = await ai.chat.completions.create(model="gpt-mock", messages=HELLO, stream=True)
            return [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "".join(asyncio.run(ask())) == "Hello from the mock."
    wire.arrived_as_sent(mode, "openai")


def test_a_chat_stream_arrives_in_pieces(mode, wire):
    stream = client(mode).chat.completions.create(model="gpt-mock", messages=HELLO, stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices[0].delta.content]
    assert "".join(pieces) == "Hello from the mock."
    assert len(pieces) > 1
    wire.arrived_as_sent(mode, "openai")


def test_a_stream_reports_its_usage_when_asked_to(mode, wire):
    stream = client(mode).chat.completions.create(
        model="gpt-mock", messages=HELLO, stream=True, stream_options={"include_usage": True})
    assert [chunk.usage.total_tokens > 0 for chunk in stream if chunk.usage] == [True]
    wire.arrived_as_sent(mode, "openai")


def test_a_tool_call_makes_a_round_trip(mode, wire):
    ai = client(mode)
    asked = ai.chat.completions.create(model="gpt-mock", messages=WEATHER, tools=TOOLS).choices[0].message
    assert asked.tool_calls[0].function.name == "get_weather"
    assert asked.tool_calls[0].function.arguments == '{"city":"Lisbon"}'
    wire.arrived_as_sent(mode, "openai")

    result = {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "21"}
    messages = [*WEATHER, asked.model_dump(exclude_none=True), result]
    answer = ai.chat.completions.create(model="gpt-mock", messages=messages, tools=TOOLS)
    assert answer.choices[0].message.content == "It is 21 degrees in Lisbon."
    wire.arrived_as_sent(mode, "openai")


def test_a_tool_call_can_be_streamed(mode, wire):
    stream = client(mode).chat.completions.create(model="gpt-mock", messages=WEATHER, tools=TOOLS, stream=True)
    calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert "".join(call.function.arguments or "" for call in calls) == '{"city":"Lisbon"}'
    wire.arrived_as_sent(mode, "openai")


def test_a_response_answers(mode, wire):
    assert client(mode).responses.create(model="gpt-mock", input="hello").output_text == "Hello from the mock."
    wire.arrived_as_sent(mode, "openai")


def test_a_response_stream_completes(mode, wire):
    with client(mode).responses.stream(model="gpt-mock", input="hello") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == "Hello from the mock."
    assert kinds.count("response.output_text.delta") > 1
    assert kinds[-1] == "response.completed"
    wire.arrived_as_sent(mode, "openai")


def test_embeddings_come_back_as_numbers(mode, wire):
    answer = client(mode).embeddings.create(model="gpt-mock", input=["one", "two"])
    assert [item.embedding for item in answer.data] == [[0.25, -0.5, 0.125]] * 2
    wire.arrived_as_sent(mode, "openai")


def test_models_are_listed(mode, wire):
    assert "gpt-mock" in [model.id for model in client(mode).models.list()]
    wire.arrived_as_sent(mode, "openai")


def test_one_model_is_shown(mode, wire):
    assert client(mode).models.retrieve("gpt-mock").id == "gpt-mock"
    wire.arrived_as_sent(mode, "openai")


def test_speech_comes_back_as_bytes(mode, wire):
    answer = client(mode).audio.speech.create(model="gpt-mock", voice="alloy", input="Say something.")
    assert answer.content == b"mock speech"
    assert answer.response.headers["content-type"] == "audio/mpeg"
    wire.arrived_as_sent(mode, "openai")


def test_a_recording_is_transcribed(mode, wire):
    recording = ("words.wav", b"RIFF" + bytes(range(256)) * 64)
    answer = client(mode).audio.transcriptions.create(model="gpt-mock", file=recording)
    assert answer.text == "Words from the mock."
    wire.arrived_as_sent(mode, "openai")


def test_a_recording_is_translated(mode, wire):
    recording = ("words.wav", b"RIFF" + bytes(range(256)))
    answer = client(mode).audio.translations.create(model="whisper-1", file=recording)
    assert answer.text == "English words from the mock."
    wire.arrived_as_sent(mode, "openai")


def test_text_is_moderated(mode, wire):
    assert client(mode).moderations.create(input="hello").results[0].flagged is False
    wire.arrived_as_sent(mode, "openai")


def test_headers_meant_for_openai_reach_it(mode, wire):
    ai = client(mode, organization="org-mock", project="proj-mock")
    ai.with_options(default_headers={"Idempotency-Key": "once"}, timeout=30).chat.completions.create(
        model="gpt-mock", messages=HELLO)
    headers = dict(wire.arrived_as_sent(mode, "openai")["headers"])
    assert headers["openai-organization"] == "org-mock"
    assert headers["openai-project"] == "proj-mock"
    assert headers["idempotency-key"] == "once"


@pytest.mark.parametrize("status", CLASSES)
def test_an_error_of_the_provider_is_raised_as_its_own_type(mode, wire, status):
    with pytest.raises(CLASSES[status], match="The mock provider|Incorrect API key") as caught:
        hello(client(mode), f"gpt-error-{status}")
    error = caught.value
    assert error.status_code == status
    assert error.code == f"mock_{status}"
    assert error.request_id.startswith("req_mock_")
    assert (error.response.headers.get("retry-after") == "7") == (status == 429)
    assert stage.DIRECT or stage.mentions_no_key(error)
    wire.arrived_as_sent(mode, "openai")


@pytest.mark.parametrize("end", ["cut", "torn"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stream_that_the_provider_breaks_off_raises(mode, api, end):
    ai = client(mode)
    with pytest.raises(openai.APIError) as caught:
        if api == "chat":
            stream = ai.chat.completions.create(model=f"gpt-{end}", messages=HELLO, stream=True)
        else:
            stream = ai.responses.create(model=f"gpt-{end}", input="hello", stream=True)
        assert next(stream) is not None
        list(stream)
    if not stage.DIRECT:
        assert caught.value.code == "BYOK_UPSTREAM_ERROR"
        assert stage.is_readable(caught.value.message)


@pytest.mark.gateway
def test_a_provider_that_hangs_up_is_our_502(mode, wire):
    with pytest.raises(openai.InternalServerError) as caught:
        hello(client(mode), "gpt-dead")
    assert (caught.value.status_code, caught.value.code) == (502, "BYOK_UPSTREAM_ERROR")


def refused(wire, error_class, code, call):
    """The call is refused by the gateway itself: typed, readable, with our code and request id, and not forwarded."""
    with pytest.raises(error_class) as caught:
        call()
    error = caught.value
    assert error.code == code
    assert stage.is_readable(error.message.split(" - ", 1)[1])
    assert error.request_id == error.response.headers["x-keyferry-request-id"]
    assert stage.mentions_no_key(error)
    wire.nothing_arrived()
    return error


@pytest.mark.gateway
def test_a_wrong_token_is_unauthorized(mode, wire):
    refused(wire, openai.AuthenticationError, "unauthorized", lambda: hello(client(mode, "wrong")))


@pytest.mark.gateway
def test_a_provider_key_without_a_token_is_unauthorized(wire):
    ai = client(stage.OWN_SLOT, default_headers={})
    refused(wire, openai.AuthenticationError, "unauthorized", lambda: hello(ai))


@pytest.mark.gateway
def test_a_tenant_without_a_key_is_told_so(wire):
    refused(wire, openai.NotFoundError, "BYOK_KEY_NOT_FOUND", lambda: hello(client(stage.HELD, "keyless")))


@pytest.mark.gateway
@pytest.mark.parametrize("carried", [stage.HEADER, stage.OWN_SLOT], ids=lambda mode: mode.name)
def test_a_tenant_without_byok_is_told_so(wire, carried):
    refused(wire, openai.NotFoundError, "BYOK_DISABLED", lambda: hello(client(carried, "disabled")))


@pytest.mark.gateway
def test_an_operation_that_is_not_offered_is_a_bad_request(mode, wire):
    refused(wire, openai.BadRequestError, "BYOK_UNKNOWN_OPERATION", lambda: client(mode).vector_stores.list())


@pytest.mark.gateway
def test_a_key_in_the_query_is_a_bad_request(mode, wire):
    ai = client(mode, default_query={"api_key": "not-here"})
    refused(wire, openai.BadRequestError, "invalid_request", lambda: hello(ai))


@pytest.mark.gateway
def test_a_used_up_quota_is_a_rate_limit(wire):
    ai = client(stage.HEADER, stage.quota_token("openai"))
    hello(ai)
    wire.take()
    error = refused(wire, openai.RateLimitError, "BYOK_QUOTA_EXCEEDED", lambda: hello(ai))
    assert int(error.response.headers["retry-after"]) > 0
