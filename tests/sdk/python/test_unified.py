"""The official openai package on the unified surface: one client before every provider."""

import json

import openai
import pytest
import stage

pytestmark = pytest.mark.gateway

HELLO = [{"role": "user", "content": "hello"}]
CLASSES = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}
MODELS = {"openai": "gpt", "anthropic": "claude", "gemini": "gemini"}
EVERYWHERE = pytest.mark.parametrize("provider", MODELS)


def client(mode, provider, token="acme", **more):
    return openai.OpenAI(**{
        "api_key": mode.key(provider, token),
        "base_url": stage.base_url("unified"),
        "default_headers": mode.headers(provider, token),
        "max_retries": 0,
        **more,
    })


def hello(ai, model, **more):
    return ai.chat.completions.create(model=model, messages=HELLO, **more)


@EVERYWHERE
def test_a_chat_completion_answers(mode, wire, provider):
    model = f"{provider}/{MODELS[provider]}-mock"
    answer = hello(client(mode, provider), model)
    assert answer.choices[0].message.content == "Hello from the mock."
    wire.arrived_renamed(mode, provider, model)


@EVERYWHERE
def test_a_chat_stream_arrives_in_pieces(mode, wire, provider):
    model = f"{provider}/{MODELS[provider]}-mock"
    stream = hello(client(mode, provider), model, stream=True)
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices[0].delta.content]
    assert "".join(pieces) == "Hello from the mock."
    assert len(pieces) > 1
    wire.arrived_renamed(mode, provider, model)


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_embeddings_come_back_as_numbers(mode, wire, provider):
    answer = client(mode, provider).embeddings.create(model=f"{provider}/embed-mock", input=["one", "two"])
    assert [item.embedding for item in answer.data] == [[0.25, -0.5, 0.125]] * 2
    wire.arrived_renamed(mode, provider, f"{provider}/embed-mock")


def test_a_response_answers(mode, wire):
    answer = client(mode, "openai").responses.create(model="openai/gpt-mock", input="hello")
    assert answer.output_text == "Hello from the mock."
    wire.arrived_renamed(mode, "openai", "openai/gpt-mock")


def test_a_recording_is_transcribed(mode, wire):
    recording = ("words.wav", b"RIFF" + bytes(range(256)) * 64)
    answer = client(mode, "openai").audio.transcriptions.create(model="openai/gpt-mock", file=recording)
    assert answer.text == "Words from the mock."
    wire.arrived_renamed(mode, "openai", "openai/gpt-mock")


@EVERYWHERE
@pytest.mark.parametrize("status", CLASSES)
def test_an_error_of_the_provider_is_raised_as_its_own_type(mode, wire, provider, status):
    model = f"{provider}/{MODELS[provider]}-error-{status}"
    with pytest.raises(CLASSES[status], match="The mock provider|Incorrect API key") as caught:
        hello(client(mode, provider), model)
    error = caught.value
    assert error.status_code == status
    assert error.request_id.startswith("req_mock_")
    assert (error.response.headers.get("retry-after") == "7") == (status == 429)
    assert stage.mentions_no_key(error)
    wire.arrived_renamed(mode, provider, model)


@EVERYWHERE
@pytest.mark.parametrize("end", ["cut", "torn"])
def test_a_stream_that_the_provider_breaks_off_raises(mode, provider, end):
    with pytest.raises(openai.APIError) as caught:
        stream = hello(client(mode, provider), f"{provider}/{MODELS[provider]}-{end}", stream=True)
        assert next(stream) is not None
        list(stream)
    assert caught.value.code == "BYOK_UPSTREAM_ERROR"
    assert stage.is_readable(caught.value.message)


def test_an_alias_is_served_by_whom_there_is_a_key_for(wire):
    answer = hello(client(stage.HELD, "anthropic"), "mock")
    assert answer.choices[0].message.content == "Hello from the mock."
    (record,) = wire.take()
    assert (record["provider"], json.loads(record["body"])["model"]) == ("anthropic", "claude-mock")
    keys = json.dumps({"openai": stage.STAGE["carried"]["openai"]})
    hello(client(stage.HELD, "openai", "keyless", default_headers={"X-BYOK-Keys": keys}), "mock")
    (record,) = wire.take()
    assert (record["provider"], json.loads(record["body"])["model"]) == ("openai", "gpt-mock")


def test_what_may_be_used_is_listed_and_shown(wire):
    ai = client(stage.HELD, "openai")
    assert [model.id for model in ai.models.list()] == ["anthropic/claude-mock", "mock", "openai/gpt-mock"]
    assert ai.models.retrieve("mock").owned_by == "keyferry"
    assert ai.models.retrieve("openai/gpt-mock").owned_by == "openai"
    wire.nothing_arrived()


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


def test_refusals_are_raised_as_their_types(wire):
    ai = client(stage.HELD, "openai")
    refused(wire, openai.NotFoundError, "not_found", lambda: hello(ai, "gpt-mock"))
    refused(wire, openai.NotFoundError, "not_found", lambda: ai.models.retrieve("moon"))
    refused(wire, openai.PermissionDeniedError, "MODEL_NOT_ALLOWED", lambda: hello(ai, "best"))
    unknown = lambda: ai.responses.create(model="anthropic/claude-mock", input="hello")  # noqa: E731
    refused(wire, openai.BadRequestError, "BYOK_UNKNOWN_OPERATION", unknown)
    keyless = client(stage.HELD, "openai", "keyless")
    refused(wire, openai.NotFoundError, "BYOK_KEY_NOT_FOUND", lambda: hello(keyless, "mock"))
    refused(wire, openai.AuthenticationError, "unauthorized", lambda: hello(client(stage.HELD, "openai", "wrong"), "mock"))
