"""A PostgreSQL and a Redis of the run's own, as they are without tuning: PostgreSQL waits for the disk."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from .processes import Failed, Process, free_port, listens
from .stage import Stage

USER = "keyferry"


def postgres(stage: Stage, home: Path) -> tuple[Process, str]:
    """Answers the server and its URL."""
    programs = _programs()
    folder = home / "postgres"
    folder.mkdir()
    as_user = _unprivileged(folder)
    made = subprocess.run(
        [*as_user, programs / "initdb", "--username", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "-D", folder / "data"],
        capture_output=True, text=True, cwd=folder)
    if made.returncode:
        raise Failed(f"initdb: {made.stderr}")
    port = free_port()
    server = stage.start(f"{home.name}-postgres", [*as_user, programs / "postgres", "-D", folder / "data", "-p", port,
                                      "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"])
    server.wait_for(lambda: listens(port))
    return server, f"postgres://{USER}@127.0.0.1:{port}/postgres"


def redis(stage: Stage, home: Path) -> tuple[Process, str]:
    """Answers the server and its URL."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if not program:
        raise Failed("there is no redis-server (Debian: redis-server)")
    folder = home / "redis"
    folder.mkdir()
    port = free_port()
    server = stage.start(f"{home.name}-redis", [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder])
    server.wait_for(lambda: listens(port))
    return server, f"redis://127.0.0.1:{port}/0"


def _programs() -> Path:
    """Debian keeps them off the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in [*map(Path, os.environ["PATH"].split(":")), *versions]:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise Failed("there is no PostgreSQL (Debian: postgresql)")


def _unprivileged(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return []
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
