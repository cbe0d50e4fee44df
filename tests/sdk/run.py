#!/usr/bin/env python3
"""Runs the official SDKs through `keyferry serve` against a mock provider. See README.md beside this file."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "shared"))

import installed  # noqa: E402

DIRECT = os.environ.get("DIRECT") == "1"
HOSTS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
PROVIDERS = ("openai", "anthropic", "gemini")
SUITES = [("python", "newest"), ("python", "before"), ("node", "newest"), ("node", "before")]
MODELS = """\
models:
  mock: {candidates: [anthropic/claude-mock, openai/gpt-mock]}
  best: {tier: enterprise, candidates: [openai/gpt-mock]}
"""
FILES = {  # the packages that have an older major version worth keeping
    "newest": ("openai", "anthropic", "gemini", "unified", "streams"),
    "before": ("anthropic", "gemini"),
}


def main() -> int:
    wanted = sys.argv[1:] or [f"{language}-{generation}" for language, generation in SUITES]
    pythons = {generation: installed.python(HERE / f"requirements-{generation}.txt") for generation in FILES}
    modules = installed.node(HERE)
    started = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyferry-sdk-")))
        stack.enter_context(linked(HERE / "node_modules", modules))
        front = stack.enter_context(running_front())
        stage = {"direct": DIRECT, "front": f"http://127.0.0.1:{front}", **fresh_keys()}
        if DIRECT:
            stage |= {"tokens": {"acme": "no-gateway-no-token"}, "base_urls": base_urls(front)}
        else:
            gateway = stack.enter_context(running_gateway(scratch, front))
            stage |= {"tokens": gateway.furnish(stage["held"]), "base_urls": base_urls(gateway.port)}
        totals = [0, 0, 0]
        for language, generation in SUITES:
            if f"{language}-{generation}" in wanted:
                counts = run_suite(language, generation, stage, scratch, pythons[generation])
                totals = [total + count for total, count in zip(totals, counts)]
        if not DIRECT:
            totals = [total + count for total, count in zip(totals, gateway.last_checks(stage))]
            if totals[1]:
                gateway.show_log()
    print(f"\nsdk suite: {time.monotonic() - started:.0f} s")
    print("sdk: {} passed, {} failed, {} skipped".format(*totals))
    return 0 if totals[0] and not totals[1] else 1


@contextmanager
def linked(link: Path, target: Path):
    """ES modules are only found in a node_modules folder above the file that imports them."""
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target)
    try:
        yield
    finally:
        link.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------- starting


def fresh_keys() -> dict:
    def keys() -> dict:
        return {
            "openai": f"sk-proj-{secrets.token_hex(24)}",
            "anthropic": f"sk-ant-api03-{secrets.token_hex(24)}",
            "gemini": f"AIzaSy{secrets.token_hex(17)[:33]}",
        }
    return {"held": keys(), "carried": keys()}


def base_urls(port: int) -> dict:
    here = f"http://127.0.0.1:{port}"
    native = {"openai": f"{here}/openai/v1", "anthropic": f"{here}/anthropic", "gemini": f"{here}/gemini"}
    return native | {"unified": f"{here}/v1"}


@contextmanager
def running_front():
    """aimock with the recorder in front of it; it ends when its standard input does."""
    front = subprocess.Popen(["node", HERE / "front.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield json.loads(front.stdout.readline())["port"]
    finally:
        front.stdin.close()
        try:
            front.wait(timeout=5)
        except subprocess.TimeoutExpired:
            front.kill()
            front.wait()


@contextmanager
def running_gateway(scratch: Path, front: int):
    gateway = Gateway(scratch, front)
    try:
        gateway.wait_until_ready()
        yield gateway
    except BaseException:
        gateway.show_log()
        raise
    finally:
        gateway.stop()


class Gateway:
    def __init__(self, scratch: Path, front: int):
        self.port, metrics = free_port(), free_port()
        self.operator = secrets.token_urlsafe(24)
        self.log = scratch / "gateway.log"
        dial = "\n".join(f'    - {{host: {host}, address: "127.0.0.1:{front}", plaintext: true}}' for host in HOSTS)
        config = scratch / "keyferry.yaml"
        config.write_text(
            f"data_dir: {scratch / 'data'}\n"
            "listeners:\n"
            f'  - {{bind: "127.0.0.1:{self.port}", resources: [gateway, admin, health]}}\n'
            f'  - {{bind: "127.0.0.1:{metrics}", resources: [metrics, health]}}\n'
            f"{MODELS}upstream:\n  dial:\n{dial}\n", encoding="utf-8")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [gateway_binary(), "serve", "--config", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=scratch, env={**os.environ, "KEYFERRY_OPERATOR_TOKEN": self.operator})

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"keyferry serve ended with {self.process.returncode} before it was ready")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit("keyferry serve was not ready within 30 s")

    def admin(self, method: str, path: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.operator}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path} answered {error.code}: {error.read().decode()}") from None

    def furnish(self, held: dict) -> dict:
        """The tenants of the suite; answers a token for each."""
        tenants = {"acme": {"name": "Acme"}, "keyless": {}, "disabled": {"byok_enabled": False}}
        for language, generation in SUITES:
            for provider in PROVIDERS:
                tenants[f"quota-{language}-{generation}-{provider}"] = {"daily_quota": 1}
        tokens = {}
        for name, settings in tenants.items():
            self.admin("POST", "/tenants", {"id": name, "name": name, "byok_enabled": True, **settings})
            tokens[name] = self.admin("POST", f"/tenants/{name}/tokens", {"role": "caller"})["token"]
        for provider, key in held.items():
            self.admin("POST", "/tenants/acme/credentials", {"provider": provider, "api_key": key})
        wrong = self.admin("POST", "/tenants/acme/tokens", {"role": "caller"})
        self.admin("DELETE", f"/tenants/acme/tokens/{wrong['id']}")
        return tokens | {"wrong": wrong["token"]}

    def last_checks(self, stage: dict) -> tuple[int, int, int]:
        """Stops the gateway, and looks at how it ended and what it wrote."""
        self.stop()
        log = self.log.read_text(errors="replace")
        known = [self.operator, *stage["held"].values(), *stage["carried"].values(), *stage["tokens"].values()]
        checks = {
            "the gateway ends with 0 on SIGTERM": self.process.returncode == 0,
            "the gateway's log contains no key and no token": not any(secret in log for secret in known),
            "the gateway did not panic": "panicked at" not in log,
        }
        print("\n== gateway")
        for name, holds in checks.items():
            print(f"{'ok' if holds else 'FAILED'}: {name}")
        return sum(checks.values()), len(checks) - sum(checks.values()), 0

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def show_log(self) -> None:
        lines = self.log.read_text(errors="replace").splitlines()
        print("\n== the last lines of the gateway's log", *lines[-40:], sep="\n")


def gateway_binary() -> Path:
    """The program that KEYFERRY_BIN names, or else the one that was built last."""
    if named := os.environ.get("KEYFERRY_BIN"):
        return Path(named).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    built = [path for kind in ("release", "debug") if (path := target / kind / "keyferry").is_file()]
    if built:
        return max(built, key=lambda path: path.stat().st_mtime)
    raise SystemExit("no keyferry binary: build it (cargo build), or name one in KEYFERRY_BIN")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ------------------------------------------------------------------------------------------------------ running


def run_suite(language: str, generation: str, stage: dict, scratch: Path, python: Path) -> tuple[int, int, int]:
    """Runs the tests of one language and generation; answers how many passed, failed and were skipped."""
    name = f"{language}-{generation}"
    print(f"\n== {name}", flush=True)
    stage_file = scratch / f"{name}.json"
    stage_file.write_text(json.dumps({**stage, "generation": generation}), encoding="utf-8")
    if language == "python":
        tests = [HERE / "python" / f"test_{file}.py" for file in FILES[generation]]
        command = [python, "-m", "pytest", "-q", "-ra", "--tb=short", "-p", "no:cacheprovider", "-p", "no:warnings", *tests]
    else:
        tests = [HERE / "node" / f"{file}.test.mjs" for file in FILES[generation] if file != "streams"]
        command = ["node", "--test", "--test-concurrency=1", "--test-reporter=spec", *tests]
    clean = {key: value for key, value in os.environ.items() if not foreign(key)}
    done = subprocess.run(
        command, cwd=HERE / language, text=True, capture_output=True, timeout=600,
        env={**clean, "KEYFERRY_SDK_STAGE": str(stage_file), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"})
    print(done.stdout, done.stderr, sep="", flush=True)
    passed, failed, skipped = tally(language, done.stdout)
    if done.returncode and not failed:
        print(f"{name} ended with {done.returncode}")
        failed = 1
    return passed, failed, skipped


def foreign(variable: str) -> bool:
    """Variables that SDKs read: keys, base URLs, headers and proxies of whoever runs this."""
    name = variable.upper()
    return name.startswith(("OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_")) or name.endswith("_PROXY")


def tally(language: str, output: str) -> tuple[int, int, int]:
    def count(*words: str) -> int:
        pattern = r"(\d+) {}\b" if language == "python" else r"(?m)^\S+ {} (\d+)$"
        found = [re.findall(pattern.format(word), output) for word in words]
        return sum(int(numbers[-1]) for numbers in found if numbers)
    if language == "python":
        return count("passed"), count("failed") + count("errors?"), count("skipped")
    return count("pass"), count("fail") + count("cancelled"), count("skipped")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
