"""Side by side: each system has a short turn, then the next one, and in the next round in reversed order. A turn in which
other programs used the machine is repeated. A figure is the median of the turns' figures, a ratio the median of the rounds'."""

import json
import subprocess
from dataclasses import dataclass, field
from statistics import median, quantiles

from .cases import Case
from .processes import Failed, forget_peak, memory
from .proxies import System
from .stage import Stage, say

#: Processors that others may use during a turn.
OTHERS = 0.2
#: The part of the streams of a turn that may come in fewer pieces than they were sent, as when nobody had a processor.
GATHERED = 0.05
#: How often a turn is repeated.
REPEATS = 5


@dataclass
class Settings:
    turns: int = 15
    seconds: float = 1.0
    warm: float = 0.2
    #: Repeat turns that were disturbed.
    strict: bool = True


@dataclass
class Figures:
    """The turns of one system in one case."""
    turns: list[dict] = field(default_factory=list)
    memory: dict = field(default_factory=dict)
    repeated: int = 0
    disturbed: int = 0
    failed: str | None = None

    def of(self, read) -> list[float]:
        return [value for value in map(read, self.turns) if value is not None]


def cpu_per_request_us(turn: dict) -> float | None:
    """Processor time of the system alone for one request."""
    return turn["cpu_seconds"]["system"] / turn["requests"] * 1e6 if turn["requests"] else None


def of_helpers_us(turn: dict) -> float | None:
    """The same of the servers that work for it."""
    others = [used for name, used in turn["cpu_seconds"].items() if name not in ("system", "provider")]
    return sum(others) / turn["requests"] * 1e6 if turn["requests"] and others else None


def provider_per_request_us(turn: dict) -> float | None:
    used = turn["cpu_seconds"].get("provider", turn["cpu_seconds"]["system"])
    return used / turn["requests"] * 1e6 if turn["requests"] else None


def load_per_request_us(turn: dict) -> float | None:
    return turn["load_cpu_seconds"] / turn["requests"] * 1e6 if turn["requests"] else None


def per_second(turn: dict) -> float:
    return turn["per_second"]


def latency(part: str):
    def read(turn: dict) -> float | None:
        return turn["latency_us"][part] if turn["latency_us"] else None
    return read


def first_piece(part: str):
    def read(turn: dict) -> float | None:
        return turn["first_piece_us"][part] if turn["first_piece_us"] else None
    return read


def summary(values: list[float]) -> dict | None:
    """The median, and the quartiles as a measure of how still it held."""
    if not values:
        return None
    low, high = (quantiles(values, n=4)[0], quantiles(values, n=4)[2]) if len(values) > 1 else (values[0], values[0])
    return {"median": median(values), "low": low, "high": high, "of": len(values)}


def ratios(figures: Figures, base: Figures, read) -> list[float]:
    """What each turn was to the base's turn of the same round."""
    pairs = zip(map(read, figures.turns), map(read, base.turns))
    return [one / other for one, other in pairs if one is not None and other]


def load(stage: Stage, system: System, case: Case, seconds: float, warm: float, extra: list | None = None) -> dict:
    """One turn."""
    accounts = {"system": system.pids()}
    if system.process:
        accounts["provider"] = stage.provider(system.tls).pids()
    accounts |= {name: helper.pids() for name, helper in system.helpers.items()}
    command = [stage.tools / "load", "--to", f"127.0.0.1:{system.port}", "--path", system.path, *case.flags(),
               "--seconds", seconds, "--warm", warm, "--exact", "true" if system.exact else "false", *(extra or [])]
    for header in system.headers:
        command += ["--header", header]
    for name, pids in accounts.items():
        command += ["--account", f"{name}={','.join(map(str, pids))}"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds + warm + 60)
    if done.returncode:
        raise Failed(f"{system.name}, {case.name}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def run_case(stage: Stage, systems: list[System], case: Case, settings: Settings) -> dict[str, Figures]:
    """All turns of a case; answers the figures by system."""
    figures = {system.name: Figures() for system in systems}
    going = list(systems)
    for system in systems:
        forget_peak(system.pids())
    for number in range(-1, settings.turns):
        for system in list(going if number % 2 == 0 else reversed(going)):
            mine = figures[system.name]
            try:
                turn(stage, system, case, settings, mine, number)
            except Failed as failure:
                say(f"  {failure}")
                mine.failed = str(failure)
                going.remove(system)
        if number >= 0:
            say(f"  {case.name}: round {number + 1} of {settings.turns}")
    for system in systems:
        if not figures[system.name].failed:
            figures[system.name].memory = memory(system.pids())
    return figures


def turn(stage: Stage, system: System, case: Case, settings: Settings, mine: Figures, number: int) -> None:
    """One that counts, after as many as it takes. The one before the first counts in no case."""
    warm = settings.warm if number >= 0 else max(1.0, settings.warm)
    seconds = settings.seconds * system.patience
    for attempt in range(REPEATS + 1):
        seen = load(stage, system, case, seconds, warm, system.more_flags(case, seconds + warm))
        if seen["errors"]:
            raise Failed(f"{system.name}, {case.name}: {seen['errors']} wrong answers, the first: {seen['first_error']}")
        if number < 0:
            return
        if system.exact and seen["gathered"] > seen["requests"] * GATHERED:
            raise Failed(f"{system.name}, {case.name}: {seen['gathered']} of {seen['requests']} streams came at once")
        disturbed = seen["machine"]["others"] > OTHERS * seen["seconds"]
        if not disturbed or not settings.strict or attempt == REPEATS:
            break
        mine.repeated += 1
    mine.disturbed += disturbed
    mine.turns.append(seen)
