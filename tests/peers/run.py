#!/usr/bin/env python3
"""Judges envelopes, JWTs and this repository with what others wrote. See README.md beside this file."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("KEYFERRY_TEST_CACHE") or ROOT / ".work").resolve() / "peers"
CHECKS = {
    "envelopes": ROOT / "crates/envelope/vectors/verify.py",
    "JWTs": HERE / "tokens.py",
    "secrets": HERE / "scan.py",
}


def main() -> int:
    python = install()
    failed = 0
    for name, script in CHECKS.items():
        print(f"\n== {name}", flush=True)
        done = subprocess.run([python, script], cwd=script.parent, timeout=600,
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        failed += done.returncode != 0
    print(f"\npeers: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


def install() -> Path:
    """A virtual environment with the pinned packages, made once per content of their list."""
    requirements = HERE / "requirements.txt"
    home = CACHE / f"python-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    if not (home / "complete").exists():
        print(f"installing {requirements.name} into {home}")
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [home / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "-r", requirements], check=True)
        (home / "complete").touch()
    return home / "bin/python"


if __name__ == "__main__":
    sys.exit(main())
