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


def open_case(case):
    master = bytes.fromhex(case["master_secret"])
    context = case["context"]
    kek_id = "local:" + hkdf(master, ROOT_SALT, ["keyferry", 1, "kek-id"], 8).hex()
    if kek_id != case["kek_id"]:
        raise Closed("another KEK")
    kek = hkdf(master, ROOT_SALT, ["keyferry", 1, "tenant-kek", context["tenant"]])
    bound = [context[field] for field in ("tenant", "provider", "credential", "version", "origin")]
    dek_aad = cbor(["keyferry", 1, "dek", *bound, kek_id])
    dek = open_layer(kek, "application/vnd.keyferry.dek", dek_aad, bytes.fromhex(case["wrapped_dek"]))
    record_aad = cbor(["keyferry", 1, "record", *bound])
    padded = open_layer(dek, "application/vnd.keyferry.api-key", record_aad, bytes.fromhex(case["envelope"]))
    key, marker, zeros = padded.rpartition(b"\x80")
    if not marker or zeros.strip(b"\0") or len(padded) != (len(key) // 64 + 1) * 64:
        raise Closed("padding")
    return key


def fingerprint(case, key):
    master = bytes.fromhex(case["master_secret"])
    mac_key = hkdf(master, ROOT_SALT, ["keyferry", 1, "fingerprint", case["context"]["tenant"]])
    message = b"".join(len(part).to_bytes(8, "big") + part for part in (b"api-key", key))
    return hmac.digest(mac_key, message, hashlib.sha256).hex()[:16]


def main():
    folder = pathlib.Path(__file__).parent / "v1"
    valid = json.loads((folder / "valid.json").read_text())
    invalid = json.loads((folder / "invalid.json").read_text())
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
