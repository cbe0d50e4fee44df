"""Looks for real secrets in every file of the repository, with PyPI `detect-secrets`; a planted one must be found."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Detectors of the forms of real keys. Those that find whatever looks random or is called "key" say nothing in a
# repository that is about keys.
LOOSE = ("Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector", "IPPublicDetector")
# What looks like a secret and is an example: file, kind, why.
EXAMPLES = {
    ("crates/keyferry/src/config/file.rs", "Basic Auth Credentials"): "how such a URL is written",
    ("crates/envelope/src/signed.rs", "Private Key"): "the example of RFC 8410, section 10.3",
    ("crates/keyferry/tests/it/sidecar/sealed.rs", "Private Key"): "the frame around a key that the test makes",
    ("crates/kms/src/http/tests.rs", "Basic Auth Credentials"): "an address that must be refused",
    ("crates/storage/src/counter/redis/address.rs", "Basic Auth Credentials"): "how such a URL is written",
    ("crates/storage/src/postgres/address.rs", "Basic Auth Credentials"): "how such a URL is written",
    ("crates/storage/src/store.rs", "Basic Auth Credentials"): "how such a URL is written",
    ("crates/storage/tests/redis/fitness.rs", "Basic Auth Credentials"): "a wrong password, which must not be quoted",
    ("docs/operations.md", "Basic Auth Credentials"): "how such a URL is written",
    ("docs/reference/configuration.md", "Basic Auth Credentials"): "how such a URL is written",
    ("fuzz/corpus/jwt/token", "JSON Web Token"): "a seed, signed by a key that nobody kept",
    ("fuzz/corpus/key_files/crlf.pem", "Private Key"): "a seed, used for nothing else",
    ("fuzz/corpus/key_files/private.pem", "Private Key"): "a seed, used for nothing else",
    ("fuzz/corpus/sealing_list/list.jws", "JSON Web Token"): "a seed, signed by a key that nobody kept",
}
GENERATED = {"target", "node_modules", ".git", ".work"}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="keyferry-scan-") as scratch:
        plant = Path(scratch, "plant.txt")
        plant.write_text("AKIA" + "Q4ZB7M2XT6WJ5RHC" + "\n-----BEGIN " + "PRIVATE KEY-----\n")
        planted = findings([str(plant)], Path(scratch))
    files = tracked()
    found = findings(files, ROOT)
    stale = EXAMPLES.keys() - {(file, kind) for file, kinds in found.items() for kind in kinds}
    found = {file: real for file, kinds in found.items() if (real := {kind for kind in kinds if (file, kind) not in EXAMPLES})}
    for file, kinds in found.items():
        print(f"{file}: {', '.join(sorted(kinds))}")
    for file, kind in stale:
        print(f"{file}: has no {kind} any more, and is listed as an example of one")
    print(f"{len(files)} files, {len(found)} with a finding; planted kinds found: {len(set().union(*planted.values()))} of 2")
    return 0 if files and not found and not stale and len(set().union(*planted.values())) == 2 else 1


def tracked() -> list[str]:
    """The files of the repository; without git, all that are not generated."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        return [file for file in listed.stdout.splitlines() if (ROOT / file).is_file()]
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return [str(path) for path in files if not GENERATED & set(path.parts)]


def findings(files: list[str], folder: Path) -> dict[str, set]:
    """Kinds of findings by file."""
    off = [word for name in LOOSE for word in ("--disable-plugin", name)]
    command = [sys.executable, "-m", "detect_secrets", "scan", "--no-verify", *off, *files]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return {file: {found["type"] for found in rows} for file, rows in json.loads(done.stdout)["results"].items()}


if __name__ == "__main__":
    sys.exit(main())
