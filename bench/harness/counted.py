"""How often Redis is asked for one request: what it says itself that it read, one request after the other."""

import socket
import time

from .keyferry import Redis
from .scale import asked
from .stage import Stage, say

REQUESTS = 500


def run(stage: Stage, systems: list, _settings) -> dict:
    figures = {}
    for system in systems:
        if not isinstance(system, Redis):
            say(f"  {system.name} is left out: it has no Redis")
            continue
        callers = system.folder / "callers.txt"
        callers.write_text(f"{system.headers[0]}\n" * REQUESTS)
        headers, system.headers = system.headers, []
        asked(stage, system, callers, 50)
        # What comes by time and not by request is counted in a pause, and left out.
        quiet = between(system, lambda: time.sleep(1))
        loaded = between(system, lambda: asked(stage, system, callers, REQUESTS))
        system.headers = headers
        figures[system.name] = {"requests": REQUESTS, "reads": loaded, "reads_in_an_idle_second": quiet,
                                "reads_per_request": round(loaded / REQUESTS, 3)}
    return figures


def between(system: Redis, does) -> int:
    """How often the server read from its clients meanwhile."""
    before = reads(system)
    does()
    # The second question is one of them.
    return reads(system) - before - 1


def reads(system: Redis) -> int:
    port = system.redis_port
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"INFO stats\r\n")
        text = b""
        while b"total_reads_processed:" not in text or not text.endswith(b"\r\n"):
            text += connection.recv(65536)
    line = next(line for line in text.split(b"\r\n") if line.startswith(b"total_reads_processed:"))
    return int(line.split(b":")[1])


def table(figures: dict) -> str:
    lines = ["**Reads of Redis**", "", "| system | requests | reads | for each request | in a second without requests |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {one['requests']} | {one['reads']} | {one['reads_per_request']} | {one['reads_in_an_idle_second']} |"
              for name, one in figures.items()]
    return "\n".join(lines)
