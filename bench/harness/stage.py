"""What every system stands on: the folder, the tools, the providers, the test's own certificate authority."""

import os
import resource
import secrets
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from .processes import Process

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
HOST = "api.openai.com"


def say(*words) -> None:
    print(*words, file=sys.stderr, flush=True)


def build() -> Path:
    """Builds the tools; answers the folder with the programs. `CARGO` names another cargo."""
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "build", "--release", "--locked", "--quiet", "--manifest-path", BENCH / "Cargo.toml"]
    subprocess.run(command, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", BENCH / "target")) / "release"


def build_keyferry() -> Path:
    """Builds the program as it is released; answers where it is."""
    cargo = os.environ.get("CARGO", "cargo")
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
    say("building keyferry (release)")
    # There, because .cargo/config.toml belongs to it.
    subprocess.run([cargo, "build", "--release", "--locked", "--quiet", "--target-dir", target], check=True, cwd=ROOT)
    return target / "release/keyferry"


def allow_many_files() -> int:
    """Ten thousand streams are twenty thousand connections of a gateway. Answers how many there may be."""
    many = 100_000
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (many, many))
    except (ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Stage:
    """Gone with all that was started on it when it is left."""

    def __init__(self, tools: Path):
        self.most_files = allow_many_files()
        self.tools = tools
        self.key = f"sk-proj-{secrets.token_hex(24)}"
        self._left = ExitStack()
        self.folder = Path(self._left.enter_context(tempfile.TemporaryDirectory(prefix="keyferry-bench-")))
        # PostgreSQL serves as another user, whose files lie below it.
        self.folder.chmod(0o711)
        self._providers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._left.close()

    def start(self, name: str, command: list, env: dict | None = None, says_port: bool = False,
              folder: Path | None = None) -> Process:
        process = Process(name, command, folder or self.folder, env, says_port)
        self._left.callback(process.stop)
        return process

    def provider(self, tls: bool = False) -> Process:
        """The provider, without TLS or with it; one process of each."""
        if tls not in self._providers:
            command = [self.tools / "provider", "--key", self.key]
            if tls:
                command += ["--cert", self.ca().parent / "leaf.pem", "--cert-key", self.ca().parent / "leaf.key"]
            self._providers[tls] = self.start("provider-tls" if tls else "provider", command, says_port=True)
        return self._providers[tls]

    def ca(self) -> Path:
        """The certificate authority, and beside it a certificate for the provider's name."""
        folder = self.folder / "pki"
        ca = folder / "ca.pem"
        if ca.exists():
            return ca
        folder.mkdir()

        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=keyferry bench CA",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", *key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", f"/CN={HOST}")
        (folder / "leaf.ext").write_text(
            f"subjectAltName=DNS:{HOST}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n")
        openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", "leaf.pem", "-days", "2", "-extfile", "leaf.ext")
        return ca
