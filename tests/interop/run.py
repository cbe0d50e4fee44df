#!/usr/bin/env python3
"""Formats of ours, read and written by other people's libraries. See README.md beside this file."""

import base64
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "shared"))

import installed  # noqa: E402

VECTORS = ROOT / "crates/envelope/vectors"
KEMS = {"P-256": 0x10, "X25519": 0x20}
LIST = '{"keys":[{"kid":"kid_1","kem":16,"kdf":1,"aead":2}]}'


def main() -> int:
    started = time.monotonic()
    python, modules = installed.python(HERE / "requirements.txt"), installed.node(HERE)
    tally = Tally()
    for script in ("verify.py", "verify_cwt.py"):
        print(f"--- {script}")
        ran = subprocess.run([python, "-B", VECTORS / script])
        tally.check(ran.returncode == 0, f"{script} fails")
    with ExitStack() as stack:
        # ES modules are only found in a node_modules folder beside or above the file that imports them.
        shutil.copy(HERE / "sealing/peer.mjs", modules.parent)
        peers = [
            stack.enter_context(Peer("rust", [build()])),
            stack.enter_context(Peer("@hpke/core", ["node", modules.parent / "peer.mjs"])),
            stack.enter_context(Peer("pyhpke", [python, "-B", HERE / "sealing/peer.py"])),
        ]
        for kem in KEMS:
            print(f"--- sealed keys, {kem}")
            sealed_keys(peers, KEMS[kem], tally)
        print("--- signed lists")
        signed_lists(peers, tally)
    print(f"\ninterop suite: {time.monotonic() - started:.0f} s")
    print(f"interop: {tally.passed} passed, {tally.failed} failed")
    return 0 if tally.passed and not tally.failed else 1


# ------------------------------------------------------------------------------------------------------ asserting


class Tally:
    """Counts what held and says what did not."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, held: bool, otherwise: str):
        if held:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {otherwise}")


def sealed_keys(peers, kem: int, tally):
    """Everybody opens what anybody sealed, for the same purpose, tenant and key, and in no other case."""
    secret = token(32)
    public = {peer.name: peer.ask(do="public", kem=kem, secret=secret).get("public_key") for peer in peers}
    tally.check(len(set(public.values())) == 1 and None not in public.values(), f"public keys differ: {public}")
    mine = {"kem": kem, "secret": secret}
    for sealer, purpose, key in itertools.product(peers, ("request", "store"), ("sk-12345", "k" * 512)):
        bound = {"purpose": purpose, "tenant": "ténant-a"}
        said = {"kid": "kid_1", "provider": "anthropic", "ts": int(time.time())}
        text = sealer.ask(do="seal", kem=kem, public_key=public["rust"], key=key, **bound, **said).get("text", "")
        for opener in peers:
            pair = f"{opener.name} on what {sealer.name} sealed"
            opened = opener.ask(do="open", **mine, **bound, text=text)
            tally.check(opened == {"key": key, **said}, f"{pair}: {opened}")
            other = "store" if purpose == "request" else "request"
            for what, asked in {
                "another purpose": {**mine, **bound, "purpose": other, "text": text},
                "another tenant": {**mine, **bound, "tenant": "tenant-b", "text": text},
                "another key": {**mine, **bound, "secret": token(32), "text": text},
                "another kid": {**mine, **bound, "text": text.replace("kid=kid_1", "kid=kid_2")},
                "another provider": {**mine, **bound, "text": text.replace("anthropic", "openai")},
                "another time": {**mine, **bound, "text": text.replace(f"ts={said['ts']}", f"ts={said['ts'] + 1}")},
                "a changed tag": {**mine, **bound, "text": changed(text)},
            }.items():
                answer = opener.ask(do="open", **asked)
                tally.check("error" in answer, f"{pair}, {what}: opens")


def signed_lists(peers, tally):
    """Everybody's signature holds for everybody else, under keys as OpenSSL writes them."""
    private = openssl("genpkey", "-algorithm", "ed25519")
    public = openssl("pkey", "-pubout", given=private)
    other = openssl("pkey", "-pubout", given=openssl("genpkey", "-algorithm", "ed25519"))
    signed = {peer.name: peer.ask(do="sign", pem=private, list=LIST).get("jws", "") for peer in peers}
    # Ed25519 has one signature for a message, and the header has one spelling.
    tally.check(len(set(signed.values())) == 1, f"signatures differ: {signed}")
    for peer, jws in itertools.product(peers, set(signed.values())):
        answer = peer.ask(do="verify", pem=public, jws=jws)
        tally.check(answer == {"list": LIST}, f"{peer.name}: {answer}")
        for what, pem, text in (("another key", other, jws), ("a changed signature", public, changed(jws))):
            tally.check("error" in peer.ask(do="verify", pem=pem, jws=text), f"{peer.name}, {what}: verifies")


def token(length: int) -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(length)).rstrip(b"=").decode()


def changed(text: str) -> str:
    """With another digit in the last binary value, not at its end, where a digit may have stray bits."""
    at = len(text) - 10
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1:]


def openssl(*arguments: str, given: str = "") -> str:
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, text=True, check=True).stdout


# -------------------------------------------------------------------------------------------------------- running


class Peer:
    """A process that answers one JSON object a line."""

    def __init__(self, name: str, command: list):
        self.name, self.command = name, command

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=10)

    def ask(self, **asked) -> dict:
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def build() -> Path:
    cargo = ["cargo", "build", "--quiet", "--locked", "-p", "keyferry-envelope", "--example", "sealing_peer"]
    subprocess.run(cargo, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return target / "debug/examples/sealing_peer"


if __name__ == "__main__":
    sys.exit(main())
