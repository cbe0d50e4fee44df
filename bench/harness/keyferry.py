"""keyferry, in each of the ways in which it is measured."""

import json
import os
import secrets
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from . import stores
from .processes import Failed, free_port
from .proxies import System
from .stage import HOST, Stage

#: They count and refuse nobody: a rate that is turned off would not be counted.
PLENTY = "1000000/s"
QUOTA = 1_000_000_000
TENANT = "acme"


class Keyferry(System):
    """Embedded: SQLite, counters in memory, a root in a file. A stored key serves."""

    #: What it is started with besides.
    environment: dict = {}

    def __init__(self, name: str, stage: Stage, binary: Path):
        super().__init__(name, stage)
        self.binary, self.operator = binary, secrets.token_urlsafe(24)
        self.folder = stage.folder / name.replace("@", "-at-")
        self.path = "/openai/v1/chat/completions"

    def stores(self) -> str:
        """The lines of the configuration about stores."""
        return ""

    def start(self) -> None:
        self.folder.mkdir()
        self.port, self.metrics = free_port(), free_port()
        provider = self.stage.provider(self.tls).port
        way = f"  extra_ca: {self.stage.ca()}\n" if self.tls else ""
        plaintext = "false" if self.tls else "true"
        (self.folder / "keyferry.yaml").write_text(f"""\
data_dir: {self.folder}/data
listeners:
  - {{bind: "127.0.0.1:{self.port}", resources: [gateway, admin, health]}}
  - {{bind: "127.0.0.1:{self.metrics}", resources: [metrics, health]}}
rate_limits: {{caller: {PLENTY}, tenant: {PLENTY}, tenant_provider: {PLENTY}}}
upstream:
  dial: [{{host: {HOST}, address: "127.0.0.1:{provider}", plaintext: {plaintext}}}]
{way}{self.stores()}""")
        self.serve()
        self.furnish()

    def serve(self) -> float:
        """Starts it; answers how long it took until it was ready."""
        # It logs a line for each request, as it does by itself. Nobody reads them, and no disk holds them.
        shell = 'exec "$0" serve --config keyferry.yaml 2>/dev/null'
        if os.environ.get("BENCH_KEEP_LOGS"):
            shell = 'exec "$0" serve --config keyferry.yaml'
        self.process = self.stage.start(
            self.folder.name, ["sh", "-c", shell, self.binary], folder=self.folder,
            env={"KEYFERRY_OPERATOR_TOKEN": self.operator, **self.environment})
        return self.process.wait_for(self.is_ready)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def furnish(self) -> None:
        """A tenant, its key, and a token for callers."""
        self.admin("POST", "/tenants", {"id": TENANT, "name": TENANT, "byok_enabled": True, "daily_quota": QUOTA})
        self.admin("POST", f"/tenants/{TENANT}/credentials", {"provider": "openai", "api_key": self.stage.key})
        self.token = self.admin("POST", f"/tenants/{TENANT}/tokens", {"role": "caller"})["token"]
        self.headers = [f"authorization: Bearer {self.token}"]

    def admin(self, method: str, path: str, body: dict | None = None) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.operator}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise Failed(f"{self.name}: {method} {path} answered {error.code}: {error.read().decode()}") from None


class One(Keyferry):
    """Requests have one thread, and not one for each processor."""

    environment = {"KEYFERRY_WORKERS": "1"}


class Tls(Keyferry):
    """The way to the provider has TLS."""

    tls = True


class Carried(Keyferry):
    """The key comes with each request."""

    def furnish(self) -> None:
        super().furnish()
        self.headers.append(f"x-byok-key: {self.stage.key}")


class Sealed(Keyferry):
    """The key comes with each request, sealed to the gateway, each time anew."""

    #: More requests in a second than it ever serves.
    MOST = 20_000

    def more_flags(self, case, seconds: float) -> list:
        keys = self.folder / "sealing-keys.json"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/sealing-keys", timeout=10) as answer:
            keys.write_bytes(answer.read())
        texts = self.folder / "sealed.txt"
        with texts.open("wb") as out:
            subprocess.run(
                [self.stage.tools / "sealer", "--keys", keys, "--tenant", TENANT, "--provider", "openai",
                 "--key", self.stage.key, "--count", str(int(self.MOST * seconds))], stdout=out, check=True)
        return ["--vary", texts]


class Redis(Keyferry):
    """Counters are in Redis. What it uses is told apart."""

    def stores(self) -> str:
        self.helpers["redis"], counters = stores.redis(self.stage, self.folder)
        self.redis_port = int(counters.rsplit(":", 1)[1].split("/")[0])
        return f'counters: {{url: "{counters}"}}\n'


class Shared(Redis):
    """As one of many gateways: PostgreSQL as well."""

    #: Whether usage rows go into a journal before they go there.
    journal = False

    def stores(self) -> str:
        self.helpers["postgres"], database = stores.postgres(self.stage, self.folder)
        secret = self.folder / "master.key"
        secret.write_text(secrets.token_hex(32) + "\n")
        secret.chmod(0o600)
        return f"""\
{super().stores()}storage: {{url: "{database}", journal: {str(self.journal).lower()}}}
kms: {{kind: local, master_secret_file: {secret}}}
"""


class Journal(Shared):
    """Answers do not wait for PostgreSQL."""

    journal = True
