"""Seals and opens sealed keys with `pyhpke`, written from the section "Sealed keys" of crates/envelope/README.md.
One JSON object a line in, one out; see ../README.md."""

import base64
import json
import secrets
import sys

from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

HEADER = '{"alg":"EdDSA","typ":"keyferry-sealing-keys+jws"}'


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def info(kid: str) -> bytes:
    return b"keyferry/sealed/v1\0" + kid.encode()


def aad(*fields) -> bytes:
    return "\n".join(map(str, fields)).encode()


def suite(kem: int) -> CipherSuite:
    return CipherSuite.new(KEMId(kem), KDFId.HKDF_SHA256, AEADId.AES256_GCM)


def public(kem, secret):
    pair = suite(kem).kem.derive_key_pair(decode(secret))
    return {"public_key": encode(pair.public_key.to_public_bytes())}


def seal(kem, public_key, kid, purpose, tenant, provider, ts, key):
    n = encode(secrets.token_bytes(16))
    recipient = suite(kem).kem.deserialize_public_key(decode(public_key))
    enc, sender = suite(kem).create_sender_context(recipient, info(kid))
    ct = sender.seal(key.encode(), aad(purpose, tenant, provider, ts, n))
    return {"text": f"v=1;kid={kid};provider={provider};ts={ts};n={n};enc={encode(enc)};ct={encode(ct)}"}


def open_(kem, secret, purpose, tenant, text):
    field = dict(part.split("=") for part in text.split(";"))
    pair = suite(kem).kem.derive_key_pair(decode(secret))
    recipient = suite(kem).create_recipient_context(decode(field["enc"]), pair.private_key, info(field["kid"]))
    key = recipient.open(decode(field["ct"]), aad(purpose, tenant, field["provider"], field["ts"], field["n"]))
    return {"key": key.decode(), "kid": field["kid"], "provider": field["provider"], "ts": int(field["ts"])}


def sign(pem, list):
    signed = f"{encode(HEADER.encode())}.{encode(list.encode())}"
    signature = load_pem_private_key(pem.encode(), None).sign(signed.encode())
    return {"jws": f"{signed}.{encode(signature)}"}


def verify(pem, jws):
    signed, _, signature = jws.rpartition(".")
    load_pem_public_key(pem.encode()).verify(decode(signature), signed.encode())
    return {"list": decode(signed.split(".")[1]).decode()}


def main():
    todo = {"public": public, "seal": seal, "open": open_, "sign": sign, "verify": verify}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = todo[asked.pop("do")](**asked)
        except Exception as error:  # the library's own choice of error
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
