#!/usr/bin/env python3
"""Takes the cases of `jose/` out of a checkout of C2SP/wycheproof: take.py CHECKOUT."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = ("ES256", "RS256", "EdDSA")
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}


def main(checkout: Path) -> None:
    groups, cases = [], []
    for name in ("json_web_signature", "json_web_key"):
        text = (checkout / "testvectors_v1" / f"{name}_test.json").read_text()
        for number, group in enumerate(json.loads(text)["testGroups"]):
            keys = group.get("keyset") or group.get("public") or group.get("private")
            keys = keys.get("keys", [keys])
            ours = any(key.get("alg") in (*OURS, None) for key in keys) or name == "json_web_key"
            # Of algorithms that are not ours, one good text is enough: it has to be refused.
            tests = group["tests"] if ours else [case for case in group["tests"] if case["result"] == "valid"][:1]
            if not tests or group["comment"] in ("HS384", "HS512"):  # of HS256 there is enough
                continue
            label = f"{name[9:12]}{number}"
            title = f"{name}_test.json: {group['comment']}"
            groups.append({"group": label, "title": title, "keys": [public(key) for key in keys]})
            for case in tests:
                cases.append({"group": label, "id": case["tcId"], "comment": case["comment"],
                              "expect": case["result"], "jws": case["jws"]})
    write("keys.jsonl", groups)
    write("jws.jsonl", cases)


def public(key: dict) -> dict:
    """Without the private members; a symmetric key keeps its one, or it would be no key."""
    return {name: value for name, value in key.items() if name not in PRIVATE or key.get("kty") == "oct"}


def write(name: str, rows: list) -> None:
    lines = (json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows)
    (HERE / name).write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
