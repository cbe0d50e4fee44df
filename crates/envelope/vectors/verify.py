#!/usr/bin/env python3
"""Reads vectors/v1 with an independent implementation, written from the format section of ../README.md.

    pip install cryptography cbor2 && python3 verify.py
"""

import hashlib
import hmac
import json
import pathlib
import sys

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ROOT_SALT = b"keyferry local root"
SERVICE_SALT = b"keyferry service secret"
CONTENT_TYPES = {
    "record": "application/vnd.keyferry.api-key",
    "dek": "application/vnd.keyferry.dek",
    "key": "application/vnd.keyferry.key",
}


class Closed(Exception):
    """The envelope does not open."""


def cbor(value):
    return cbor2.dumps(value, canonical=True)


def hkdf(ikm, salt, info, length=32):
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=cbor(info)).derive(ikm)


def encode(content_type, salt, commitment, nonce, ciphertext):
    """The one encoding of a layer, and its protected header."""
    protected = cbor({
        1: 3, 2: [-70001, -70002, -70003], 3: content_type,
        -70001: 1, -70002: salt, -70003: commitment,
    })
    return cbor(cbor2.CBORTag(16, [protected, {5: nonce}, ciphertext])), protected


def open_layer(secret, content_type, external_aad, layer):
    try:
        protected, unprotected, ciphertext = cbor2.loads(layer).value
        header = cbor2.loads(protected)
        salt, commitment, nonce = header[-70002], header[-70003], unprotected[5]
        again, protected = encode(content_type, salt, commitment, nonce, ciphertext)
    except Exception as error:  # whatever a malformed layer does to the reader
        raise Closed("malformed") from error
    if again != layer or (len(salt), len(commitment), len(nonce)) != (32, 32, 12):
        raise Closed("not the one encoding")
    if not hmac.compare_digest(commitment, hkdf(secret, salt, ["keyferry/commitment", external_aad])):
        raise Closed("commitment")
    key = hkdf(secret, salt, ["keyferry/key", external_aad])
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, cbor(["Encrypt0", protected, external_aad]))
    except InvalidTag as error:
        raise Closed("tag") from error


def unwrap(case, purpose, owner, name, wrapped):
    """A key under the local root."""
    master = bytes.fromhex(case["master_secret"])
    if "local:" + hkdf(master, ROOT_SALT, ["keyferry", 1, "root-id"], 8).hex() != case["root_id"]:
        raise Closed("another root")
    root_kek = hkdf(master, ROOT_SALT, ["keyferry", 1, "kek", owner])
    aad = cbor(["keyferry", 1, "key", purpose, owner, name])
    return open_layer(root_kek, CONTENT_TYPES["key"], aad, bytes.fromhex(wrapped))


def layers(case):
    """Both layers of a case, each with its secret and its associated data: first the DEK's, then the key's."""
    context = case["context"]
    bound = [context[field] for field in ("tenant", "provider", "credential", "version", "origin")]
    kek = unwrap(case, "tenant-kek", context["tenant"], case["kek_id"], case["wrapped_kek"])
    dek_aad = cbor(["keyferry", 1, "dek", *bound, case["kek_id"]])
    wrapped_dek = bytes.fromhex(case["wrapped_dek"])
    yield kek, CONTENT_TYPES["dek"], dek_aad, wrapped_dek
    dek = open_layer(kek, CONTENT_TYPES["dek"], dek_aad, wrapped_dek)
    record_aad = cbor(["keyferry", 1, "record", *bound])
    yield dek, CONTENT_TYPES["record"], record_aad, bytes.fromhex(case["envelope"])


def open_case(case):
    *_, record = layers(case)
    padded = open_layer(*record)
    key, marker, zeros = padded.rpartition(b"\x80")
    if not marker or zeros.strip(b"\0") or len(padded) != (len(key) // 64 + 1) * 64:
        raise Closed("padding")
    return key


def fingerprint(case, key):
    service = unwrap(case, "service", "", "service_1", case["wrapped_service_secret"])
    mac_key = hkdf(service, SERVICE_SALT, ["keyferry", 1, "fingerprint", case["context"]["tenant"]])
    message = b"".join(len(part).to_bytes(8, "big") + part for part in (b"api-key", key))
    return hmac.digest(mac_key, message, hashlib.sha256).hex()[:16]


def read(name):
    return json.loads((pathlib.Path(__file__).parent / "v1" / f"{name}.json").read_text())


def main():
    valid, invalid = read("valid"), read("invalid")
    failures = []
    for case in valid:
        try:
            key = open_case(case)
            if key.decode() != case["api_key"] or fingerprint(case, key) != case["fingerprint"]:
                failures.append(case["name"] + ": opens as another key")
        except Closed as reason:
            failures.append(f"{case['name']}: does not open ({reason})")
    for case in invalid:
        try:
            open_case(case)
            failures.append(case["name"] + ": opens")
        except Closed:
            pass
    print(*failures, f"{len(valid)} valid and {len(invalid)} invalid cases, {len(failures)} failures", sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
