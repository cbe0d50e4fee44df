"""JWTs made by chance: what PyJWT or joserfc refuses, `keyferry serve` refuses."""

import base64
import http.client
import http.server
import json
import os
import random
import secrets
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import joserfc.jwt
import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey, RSAKey

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sdk"))
import run as sdk  # noqa: E402

warnings.simplefilter("ignore")  # that EdDSA has a newer name
AUDIENCE, TENANT, LEEWAY = "keyferry", "acme", 30
CASES = int(os.environ.get("KEYFERRY_CASES") or 3000)
CLAIMS = {
    "iss": ["https://else.example", "", None, ["https://ES256.example"], 7],
    "aud": ["else", ["else", AUDIENCE], ["else"], [], None, {"keyferry": 1}, 7, "Keyferry"],
    "exp": ["now-3600", "now-90", "now+60", "now+1e300", "text", "list", -1, 0, None, 1.5, True, "now+60.5"],
    "nbf": ["now-60", "now+600", "text", "list", None, "null", -1, True],
    "iat": ["now-60", "now+600", "text", "list", None, "null", -1, True],
    "jti": [None, "", 7, ["x"], "x" * 300, {"a": 1}],
    "sub": [None, "null", 7, ["x"], "", True],
    "tenant": ["nobody", None, 7, ""],
}
HEADER = {
    "alg": ["none", "None", "HS256", "HS384", "RS256", "ES256", "EdDSA", "PS256", "ES384", "", None, 7, ["ES256"]],
    "kid": ["2", "", None, "null", 7, ["1"], "../1", "1\x00"],
    "typ": ["JWT", "at+jwt", 7, None, "null", ["JWT"]],
    "crit": [["exp"], [], ["moon"], "exp", ["b64"]],
    "b64": [False, True],
    "cty": ["JWT", "null", 7],
    "x5t": ["dGVzdA", 7],
    "zip": ["DEF"],
    "jku": ["https://keys.example.com/jwks.json"],
    "x5c": [["MIIB"], []],
    "jwk": [{"kty": "oct", "k": "c2VjcmV0"}],
    "moon": [1],
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """One algorithm: a key, its public JWK, and how the two libraries see it."""

    def __init__(self, algorithm: str):
        self.algorithm, self.name = algorithm, f"https://{algorithm}.example"
        if algorithm == "ES256":
            self.key, kind = ec.generate_private_key(ec.SECP256R1()), ECKey
        elif algorithm == "EdDSA":
            self.key, kind = ed25519.Ed25519PrivateKey.generate(), OKPKey
        else:
            self.key, kind = rsa.generate_private_key(65537, 2048), RSAKey
        pem = self.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.public = kind.import_key(pem)
        self.jwk = {**self.public.as_dict(private=False), "kid": "1"}

    def sign(self, text: bytes) -> bytes:
        if self.algorithm == "ES256":
            r, s = decode_dss_signature(self.key.sign(text, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if self.algorithm == "EdDSA":
            return self.key.sign(text)
        return self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())

    def token(self, header: dict, claims: dict) -> str:
        signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{signed}.{b64(self.sign(signed.encode()))}"

    def peers_refuse(self, token: str) -> list[str]:
        """Which of the libraries refuse the token, each as strict as it can be told to be."""
        refusing = []
        try:
            jwt.decode(token, self.key.public_key(), algorithms=[self.algorithm], audience=AUDIENCE, issuer=self.name,
                       leeway=LEEWAY, options={"require": ["exp", "iss", "aud", "jti"]})
        except Exception:  # whatever it says, it did not accept
            refusing.append("PyJWT")
        try:
            read = joserfc.jwt.decode(token, self.public, algorithms=[self.algorithm])
            joserfc.jwt.JWTClaimsRegistry(
                leeway=LEEWAY, exp={"essential": True}, jti={"essential": True},
                iss={"essential": True, "value": self.name}, aud={"essential": True, "value": AUDIENCE},
            ).validate(read.claims)
        except Exception:
            refusing.append("joserfc")
        return refusing


def value(chance: random.Random, choices: list):
    """One of the choices; those that speak of time are computed."""
    chosen, now = chance.choice(choices), int(time.time())
    named = {"text": str(now + 60), "list": [now + 60]}
    if isinstance(chosen, str) and chosen.startswith("now"):
        offset = float(chosen[3:])
        return now + int(offset) if offset.is_integer() and abs(offset) < 1e9 else now + offset
    return named.get(chosen, chosen) if isinstance(chosen, str) else chosen


def make(chance: random.Random, issuer: Issuer, number: int) -> tuple[str, str]:
    """What was done, and the token."""
    now = int(time.time())
    header = {"alg": issuer.algorithm, "typ": "JWT", "kid": "1"}
    claims = {"iss": issuer.name, "aud": AUDIENCE, "tenant": TENANT, "jti": f"id-{number}-{secrets.token_hex(4)}",
              "sub": f"user-{number}", "iat": now, "exp": now + 300}
    way = chance.choice(["good", "header", "claims", "claims", "bytes", "bytes", "signature", "base64", "parts", "twice"])
    for table, target in ((HEADER, header), (CLAIMS, claims)):
        if way == ("header" if target is header else "claims"):
            for name in chance.sample(sorted(table), chance.choice([1, 1, 2])):
                changed = value(chance, table[name])
                target[name] = changed
                way += f" {name}={changed!r:.40}"
                if changed is None:
                    target.pop(name, None)
                elif changed == "null":
                    target[name] = None
    token = issuer.token(header, claims)
    if way == "twice":
        signed = f"{b64(json.dumps(header).encode())}.{b64((json.dumps(claims)[:-1] + ', ' + json.dumps(claims)[1:]).encode())}"
        token = f"{signed}.{b64(issuer.sign(signed.encode()))}"
    head, body, signature = token.split(".")
    if way == "bytes":
        text = bytearray(token.encode())
        for _ in range(chance.choice([1, 1, 2, 5])):
            at = chance.randrange(len(text))
            match chance.randrange(3):
                case 0: text[at] = chance.choice(b"ABCabc019-_.=+/")
                case 1: del text[at]
                case _: text.insert(at, chance.choice(b"ABCabc019-_.=+/"))
        token = text.decode()
    elif way == "signature":
        raw = bytearray(issuer.sign(f"{head}.{body}".encode()))
        match chance.randrange(5):
            case 0: raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            case 1: raw = raw[:chance.randrange(len(raw))]
            case 2: raw += bytes(chance.randrange(1, 9))
            case 3: raw = bytearray(len(raw))
            case _: raw = raw[len(raw) // 2:] + raw[:len(raw) // 2]
        token = f"{head}.{body}.{b64(raw)}"
    elif way == "base64":
        bend = chance.choice([lambda t: t + "=", lambda t: t + "==", lambda t: t[:-1] + chr(ord(t[-1]) + 1), lambda t: t + "A"])
        parts = [head, body, signature]
        at = chance.randrange(3)
        parts[at] = bend(parts[at])
        if at < 2 and chance.random() < 0.7:
            parts[2] = b64(issuer.sign(f"{parts[0]}.{parts[1]}".encode()))
        token = ".".join(parts)
    elif way == "parts":
        parts = [head, body, signature]
        token = ".".join(chance.choice([parts[:2], parts + [signature], parts[::-1], [head, "", signature], ["", body, signature],
                                        [head, body, ""], [head, signature], parts + ["", ""]]))
    return way, token


class Provider(http.server.BaseHTTPRequestHandler):
    """Answers every request with an empty list of models."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b'{"object": "list", "data": []}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def ask(port: int, token: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/openai/v1/models", headers={"authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def main() -> int:
    seed = int(os.environ.get("KEYFERRY_SEED") or secrets.randbits(32))
    print(f"seed {seed}, {CASES} tokens")
    chance = random.Random(seed)
    issuers = [Issuer(algorithm) for algorithm in ("ES256", "RS256", "EdDSA")]
    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    wrong, counts = [], {"accepted": 0, "refused by all": 0, "refused by us alone": 0}
    with tempfile.TemporaryDirectory(prefix="keyferry-peers-") as scratch:
        with sdk.running_gateway(Path(scratch), provider.server_address[1]) as gateway:
            gateway.admin("POST", "/tenants", {"id": TENANT, "byok_enabled": True, "daily_quota": 10 * CASES})
            gateway.admin("POST", f"/tenants/{TENANT}/credentials", {"provider": "openai", "api_key": f"sk-{secrets.token_hex(20)}"})
            for issuer in issuers:
                gateway.admin("POST", f"/tenants/{TENANT}/issuers", {
                    "issuer": issuer.name, "audience": AUDIENCE, "algorithm": issuer.algorithm, "jwks": {"keys": [issuer.jwk]}})
            for number in range(CASES):
                issuer = chance.choice(issuers)
                way, token = make(chance, issuer, number)
                refusing, status = issuer.peers_refuse(token), ask(gateway.port, token)
                if status == 200 and refusing:
                    wrong.append(f"accepted, and {' and '.join(refusing)} refuse: {way}: {token}")
                elif way == "good" and (status != 200 or refusing):
                    wrong.append(f"a good token of {issuer.algorithm}: {status}, {refusing}")
                elif status not in (200, 401):
                    wrong.append(f"{status}: {way}: {token}")
                name = "accepted" if status == 200 else "refused by all" if refusing else "refused by us alone"
                counts[name] += 1
    provider.shutdown()
    print(*(f"{name}: {count}" for name, count in counts.items()), sep="\n")
    print(*wrong[:20], sep="\n")
    enough = counts["accepted"] * 20 > CASES and counts["refused by all"] * 3 > CASES
    print(f"{len(wrong)} wrong" if enough else "too few of a kind: the cases show nothing")
    return 0 if enough and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
