#!/usr/bin/env python3
"""Opens every layer of vectors/v1/valid.json with the COSE library `cwt`, given only the derived key and external_aad.

`verify.py` builds and reads the container itself; here somebody else's COSE does, so that the layers are COSE_Encrypt0
and not merely what two programs of this repository agree on.

    pip install cryptography cbor2 cwt && python3 verify_cwt.py
"""

import sys

import cbor2
from cwt import COSE, COSEKey

import verify

KTY_SYMMETRIC, ALG_A256GCM = 4, 3


def content_key(secret, external_aad, layer):
    """The one step that COSE does not know: the key is derived from the salt in the protected header."""
    salt = cbor2.loads(cbor2.loads(layer).value[0])[-70002]
    return verify.hkdf(secret, salt, ["keyferry/key", external_aad])


def changed_commitment(layer):
    """The last byte of the protected header is the last one of the commitment."""
    protected = cbor2.loads(layer).value[0]
    return layer.replace(protected, protected[:-1] + bytes([protected[-1] ^ 1]))


def decode(key, external_aad, layer):
    return COSE.new().decode(layer, COSEKey.new({1: KTY_SYMMETRIC, 3: ALG_A256GCM, -1: key}), external_aad=external_aad)


def refuses(key, external_aad, layer):
    try:
        decode(key, external_aad, layer)
    except Exception:  # the library's own choice of error
        return True
    return False


def main():
    opened, failures = 0, []
    for case in verify.read("valid"):
        for secret, content_type, external_aad, layer in verify.layers(case):
            key = content_key(secret, external_aad, layer)
            plaintext = verify.open_layer(secret, content_type, external_aad, layer)
            if decode(key, external_aad, layer) != plaintext:
                failures.append(f"{case['name']}, {content_type}: another plaintext")
            for what, *tampered in (
                ("other associated data", key, external_aad + b"\0", layer),
                ("another key", bytes(32), external_aad, layer),
                ("a changed tag", key, external_aad, layer[:-1] + bytes([layer[-1] ^ 1])),
                ("a changed commitment", key, external_aad, changed_commitment(layer)),
            ):
                if not refuses(*tampered):
                    failures.append(f"{case['name']}, {content_type}: opens with {what}")
            opened += 1
    print(*failures, f"cwt: {opened} layers opened, {len(failures)} failures", sep="\n")
    return 1 if failures or not opened else 0


if __name__ == "__main__":
    sys.exit(main())
