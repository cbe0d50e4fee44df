"""Memory: of a system that does nothing, and of one that holds as many open streams as this machine lets it."""

import json
import subprocess
import time

from .processes import Failed, memory
from .proxies import System
from .stage import Stage, say

STREAMS = 10_000
#: Open files for one stream: a socket on each side.
FILES = 2
#: Between two events, so that all are open at once.
WAIT_MS = 2_000
RAMP = 2_000
#: Behind the last stream: keyferry gives free memory back every fifteen seconds.
AFTER = 20


def run(stage: Stage, systems: list[System], _settings) -> dict:
    streams = min(STREAMS, (stage.most_files - 200) // FILES)
    figures = {}
    for system in systems:
        time.sleep(2)
        idle = memory(system.pids())
        try:
            figures[system.name] = {"idle_mib": idle, **held(stage, system, streams, idle)}
        except Failed as failure:
            say(f"  {failure}")
            figures[system.name] = {"idle_mib": idle, "failed": str(failure)}
    return figures


def held(stage: Stage, system: System, streams: int, idle: dict) -> dict:
    """Opens the streams, looks while all of them are open, and lets them end."""
    say(f"{system.name}: {streams} streams")
    opening = streams / RAMP
    command = [stage.tools / "load", "--to", f"127.0.0.1:{system.port}", "--path", system.path, "--connections", streams,
               "--stream", "true", "--wait", WAIT_MS, "--ramp", RAMP, "--warm", opening + 1, "--seconds", 45,
               "--exact", "true" if system.exact else "false", *system.more_flags(None, 1.0)]
    for header in system.headers:
        command += ["--header", header]
    asking = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        # Behind the opening, before the first one ends.
        time.sleep(opening + 15)
        full = memory(system.pids())
        out, wrong = asking.communicate(timeout=120)
    finally:
        asking.kill()
        asking.wait()
    if asking.returncode:
        raise Failed(f"{system.name}: {wrong.strip()}")
    seen = json.loads(out)
    if seen["errors"] or seen["requests"] < streams:
        raise Failed(f"{system.name}: {seen['requests']} of {streams} streams came whole, {seen['errors']} did not, the first: "
                     f"{seen['first_error']}")
    time.sleep(AFTER)
    each = (full["pss"] - idle["pss"]) * 1024 / streams
    return {"streams": streams, "full_mib": full, "after_mib": memory(system.pids()), "kib_per_stream": round(each, 2)}


def table(figures: dict) -> str:
    lines = ["**Memory (what is its own, and its share of what is shared)**", "",
             "| system | idle MiB | streams | MiB with them | KiB for each | MiB after |", "|---|---|---|---|---|---|"]
    for name, one in figures.items():
        if "failed" in one:
            lines.append(f"| {name} | {one['idle_mib']['pss']} | – | – | – | – |")
        else:
            lines.append(f"| {name} | {one['idle_mib']['pss']} | {one['streams']:,} | {one['full_mib']['pss']} | "
                         f"{one['kib_per_stream']} | {one['after_mib']['pss']} |")
    return "\n".join(lines)
