"""What run.py has set up, and what every SDK has to see of it: key modes, error codes, recorded requests."""

import hashlib
import json
import os
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

STAGE = json.load(open(os.environ["KEYFERRY_SDK_STAGE"], encoding="utf-8"))
DIRECT = STAGE["direct"]
GENERATION = STAGE["generation"]
TOKENS = STAGE["tokens"]
HOSTS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "gemini": "generativelanguage.googleapis.com",
}
# Where each provider speaks the dialect of OpenAI.
OPENAI_DIALECT = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta/openai"}
AUTH_HEADERS = {"authorization", "x-api-key", "x-goog-api-key"}
OUR_HEADERS = ("x-keyferry-", "x-byok-", "x-encrypted-key", "x-session-key", "x-sealed-key")
TELLTALE_HEADERS = {"via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"}
PASSING_HEADERS = (
    "x-stainless-", "x-goog-api-client", "x-server-timeout", "user-agent", "content-type", "anthropic-version",
    "anthropic-beta", "openai-organization", "openai-project", "openai-beta", "idempotency-key",
)


@dataclass(frozen=True)
class Mode:
    """One of the three ways in which an SDK brings the gateway token and the provider's key."""

    name: str

    def key(self, provider: str, token: str = "acme") -> str:
        """What the SDK is given as its API key."""
        return STAGE["carried"][provider] if self.name == "own_slot" else TOKENS[token]

    def headers(self, provider: str, token: str = "acme") -> dict[str, str]:
        """What the SDK is given as default headers."""
        if DIRECT or self.name == "held":
            return {}
        if self.name == "header":
            return {"X-BYOK-Key": STAGE["carried"][provider]}
        return {"X-Keyferry-Token": TOKENS[token]}

    def provider_key(self, provider: str) -> str:
        """The key that has to arrive at the provider."""
        return STAGE["held" if self.name == "held" else "carried"][provider]

    @property
    def credential(self) -> str:
        return "held" if self.name == "held" else "carried"


HELD, HEADER, OWN_SLOT = Mode("held"), Mode("header"), Mode("own_slot")
MODES = [OWN_SLOT] if DIRECT else [HELD, HEADER, OWN_SLOT]


def base_url(provider: str) -> str:
    return STAGE["base_urls"][provider]


def quota_token(provider: str) -> str:
    """The name of a token whose tenant may make one request a day."""
    return f"quota-python-{GENERATION}-{provider}"


@dataclass
class Sent:
    """A request as the SDK sent it, and the head of the answer that it got."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    answer: dict[str, str] = field(default_factory=dict)


class Wire:
    """Both ends of the gateway: what the SDK sent, and what the recording front saw arrive."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.take()

    def take(self) -> list[dict]:
        request = urllib.request.Request(f"{STAGE['front']}/__records", method="DELETE")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def nothing_arrived(self) -> None:
        assert self.take() == [], "a refused request reached the provider"

    def arrived_as_sent(self, mode: Mode, provider: str) -> dict:
        """One request arrived: the SDK's own, with the provider's key in one header and nothing of ours."""
        parts = urlsplit(self.sent[0].url)
        sent_target = parts.path + (f"?{parts.query}" if parts.query else "")
        prefix = urlsplit(base_url(provider)).path.removesuffix("/v1")
        return self._arrived(mode, provider, sent_target.removeprefix(prefix), self.sent[0].body)

    def arrived_renamed(self, mode: Mode, provider: str, asked: str) -> dict:
        """The same on the unified surface: the provider's own endpoint, and its name for the model; nothing else."""
        sent = self.sent[0]
        path = urlsplit(sent.url).path.removeprefix(urlsplit(base_url("unified")).path)
        assert sent.body.count(asked.encode()) == 1
        body = sent.body.replace(asked.encode(), asked.split("/", 1)[1].encode())
        assert sent.answer["x-keyferry-model"] == asked
        return self._arrived(mode, provider, OPENAI_DIALECT[provider] + path, body)

    def _arrived(self, mode: Mode, provider: str, target: str, body: bytes) -> dict:
        records = self.take()
        assert len(records) == len(self.sent) == 1, "one call of the SDK is one request at the provider"
        sent, record = self.sent.pop(), records[0]
        headers = dict(record["headers"])
        assert len(headers) == len(record["headers"]), "a header arrived twice"

        keys = {name: value for name, value in headers.items() if name in AUTH_HEADERS}
        assert len(keys) == 1, f"exactly one header carries a key, not {sorted(keys)}"
        assert next(iter(keys.values())).removeprefix("Bearer ") == mode.provider_key(provider)
        assert record["provider"] == provider
        assert record["method"] == sent.method
        assert record["target"] == target
        assert record["body_sha256"] == hashlib.sha256(body).hexdigest(), "the body changed on its way"
        for name, value in sent.headers.items():
            if name.startswith(PASSING_HEADERS):
                assert headers.get(name) == value, f"{name} did not arrive as sent"
        if DIRECT:
            return record
        assert record["host"] == HOSTS[provider]
        ours = [name for name in headers if name.startswith(OUR_HEADERS) or name in TELLTALE_HEADERS]
        assert ours == [], "headers of ours left the gateway"
        whole = json.dumps(record)
        assert not any(token in whole for token in TOKENS.values()), "a gateway token left the gateway"
        assert sent.answer["x-keyferry-credential"] == mode.credential
        assert sent.answer["x-keyferry-accounting"] == "BYOK_NO_BUDGET"
        assert sent.answer["x-keyferry-request-id"]
        return record


def is_readable(text: str) -> bool:
    """A sentence for people: some words, no bare code and no dump."""
    return len(text.split()) >= 3 and not text.lstrip().startswith(("{", "["))


def mentions_no_key(error: BaseException) -> bool:
    """Neither the text nor the parsed body of an exception shows a key or a token."""
    shown = f"{error!s} {error!r} {getattr(error, 'body', '')} {getattr(error, 'details', '')}"
    secrets = [*STAGE["held"].values(), *STAGE["carried"].values(), *TOKENS.values()]
    return not any(secret in shown for secret in secrets)
