"""Streams pass byte for byte: read without an SDK, compared with what the mock provider sent."""

import hashlib

import httpx2
import pytest
import stage

pytestmark = pytest.mark.gateway

HELLO = [{"role": "user", "content": "hello"}]
STREAMS = {
    "openai": ("/chat/completions", "authorization", {"model": "gpt-mock", "messages": HELLO, "stream": True}),
    "anthropic": ("/v1/messages", "x-api-key", {"model": "claude-mock", "messages": HELLO, "stream": True, "max_tokens": 9}),
    "gemini": ("/v1/models/gemini-mock:streamGenerateContent?alt=sse", "x-goog-api-key",
               {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}),
}


@pytest.mark.parametrize("provider", STREAMS)
def test_a_stream_passes_byte_for_byte(mode, wire, provider):
    path, slot, body = STREAMS[provider]
    key = mode.key(provider)
    headers = {slot: f"Bearer {key}" if slot == "authorization" else key, **mode.headers(provider)}
    answer = httpx2.post(stage.base_url(provider) + path, json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    record = wire.arrived_as_sent(mode, provider)
    assert hashlib.sha256(answer.content).hexdigest() == record["response_sha256"]
