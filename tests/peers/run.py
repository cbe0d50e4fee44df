#!/usr/bin/env python3
"""Judges envelopes, JWTs and this repository with what others wrote. See README.md beside this file."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "shared"))

import installed  # noqa: E402

CHECKS = {
    "envelopes": ROOT / "crates/envelope/vectors/verify.py",
    "JWTs": HERE / "tokens.py",
    "secrets": HERE / "scan.py",
}


def main() -> int:
    python = installed.python(HERE / "requirements.txt")
    failed = 0
    for name, script in CHECKS.items():
        print(f"\n== {name}", flush=True)
        done = subprocess.run([python, script], cwd=script.parent, timeout=600,
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        failed += done.returncode != 0
    print(f"\npeers: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
