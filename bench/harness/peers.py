"""Other gateways, installed from their registries in the versions that are pinned in `bench/peers`."""

import json
import secrets
import sys
import urllib.request

from .processes import free_port
from .proxies import System
from .stage import BENCH, ROOT

sys.path.insert(0, str(ROOT / "tests/shared"))

import installed  # noqa: E402


class LiteLLM(System):
    """One worker, a master key, no database: its own form without a server beside it."""

    exact = False
    patience = 3

    def start(self) -> None:
        python = installed.python(BENCH / "peers/litellm/requirements.txt")
        self.port = free_port()
        folder = self.stage.folder / "litellm"
        folder.mkdir()
        token = f"sk-{secrets.token_hex(16)}"
        # JSON is YAML.
        (folder / "config.yaml").write_text(json.dumps({
            "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": {
                "model": "openai/gpt-4o-mini", "api_key": self.stage.key,
                "api_base": f"http://127.0.0.1:{self.stage.provider().port}/v1"}}],
            "general_settings": {"master_key": token}}))
        self.headers = [f"authorization: Bearer {token}"]
        self.process = self.stage.start(
            "litellm", [python.parent / "litellm", "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", self.port,
                        "--num_workers", "1"],
            folder=folder, env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"})
        self.process.wait_for(lambda: answers(self.port, "/health/liveliness"), 120)


class Portkey(System):
    """It takes the provider's key and address from the request."""

    exact = False
    patience = 2

    def start(self) -> None:
        modules = installed.node(BENCH / "peers/portkey")
        self.port = free_port()
        to = f"http://127.0.0.1:{self.stage.provider().port}/v1"
        self.headers += ["x-portkey-provider: openai", f"x-portkey-custom-host: {to}"]
        self.process = self.stage.start(
            "portkey", ["node", modules / "@portkey-ai/gateway/build/start-server.js", f"--port={self.port}", "--headless"],
            env={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"})
        self.process.wait_for(lambda: answers(self.port, "/"), 60)


def answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
