"""Where the processor time of a system goes, by function, while it serves 64 connections. Samples are taken by time
(`cpu-clock`), which works where a virtual machine has no hardware counters."""

import re
import shutil
import subprocess

from .cases import CASES
from .processes import Failed
from .stage import Stage
from .turns import Settings, load

CASE = CASES["c64"]
SECONDS = 10.0
FUNCTIONS = 60


def run(stage: Stage, systems: list, _settings: Settings) -> dict:
    if not shutil.which("perf"):
        raise Failed("perf is not installed (Debian: linux-perf)")
    return {system.name: profiled(stage, system) for system in systems}


def profiled(stage: Stage, system) -> list[list]:
    data = stage.folder / f"{system.name}.perf"
    pids = ",".join(map(str, system.pids()))
    # Before the recording begins: they may take long to make.
    flags = system.more_flags(CASE, SECONDS + 0.5)
    recording = subprocess.Popen(
        ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", "1999", "--output", data, "--pid", pids, "--",
         "sleep", str(SECONDS)], stderr=subprocess.PIPE, text=True)
    try:
        turn = load(stage, system, CASE, SECONDS, 0.5, flags)
    finally:
        _, wrong = recording.communicate(timeout=60)
    if recording.returncode or turn["errors"]:
        raise Failed(f"{system.name}: {wrong} {turn['first_error']}")
    told = subprocess.run(
        ["perf", "report", "--stdio", "--no-children", "--input", data, "--sort", "symbol", "--field-separator", ";", "--percent-limit", "0.1"],
        capture_output=True, text=True, check=True).stdout
    found = (re.match(r"\s*([\d.]+)%\s*;(.+?)\s*(;|$)", line) for line in told.splitlines())
    return [[float(row[1]), row[2].strip()] for row in found if row]


def table(figures: dict) -> str:
    lines = []
    for name, rows in figures.items():
        lines += [f"**{name}**: share of samples, by function ([k] is the kernel)", ""]
        lines += [f"{share:6.2f} %  {symbol[:140]}" for share, symbol in rows[:FUNCTIONS]]
    return "\n".join(lines)
