"""How long answers take at half of what a system can do: requests come at their times, whether others are answered or not,
and the time of each counts from when it was due. Nothing is left out by waiting for a slow answer."""

from statistics import median

from .cases import Case
from .processes import Failed
from .proxies import System
from .report import number
from .stage import Stage, say
from .turns import Settings, load, per_second, summary

CASE = Case("half", "answers of 1 KB at half of each system's own saturation, 64 connections")
#: Of a turn in which others used the machine nothing is believed but that there was one.
OTHERS = 0.2


def run(stage: Stage, systems: list[System], settings: Settings) -> dict:
    most = {system.name: [] for system in systems}
    for number_ in range(max(3, settings.turns // 3)):
        for system in systems if number_ % 2 == 0 else reversed(systems):
            most[system.name].append(per_second(right(stage, system, settings, [])))
    seen = {system.name: [] for system in systems}
    for number_ in range(settings.turns):
        for system in systems if number_ % 2 == 0 else reversed(systems):
            rate = median(most[system.name]) / 2
            turn = right(stage, system, settings, ["--rate", f"{rate:.1f}"])
            if not settings.strict or turn["machine"]["others"] <= OTHERS * turn["seconds"]:
                seen[system.name].append(turn)
        say(f"  half: round {number_ + 1} of {settings.turns}")
    return {name: kept(median(most[name]), turns) for name, turns in seen.items()}


def right(stage: Stage, system: System, settings: Settings, extra: list) -> dict:
    seconds = settings.seconds * system.patience
    turn = load(stage, system, CASE, seconds, settings.warm, [*system.more_flags(CASE, seconds + settings.warm), *extra])
    if turn["errors"]:
        raise Failed(f"{system.name}: {turn['errors']} wrong answers, the first: {turn['first_error']}")
    return turn


def kept(most: float, turns: list[dict]) -> dict:
    def of(part: str):
        return summary([turn["latency_us"][part] for turn in turns if turn["latency_us"]])
    return {"saturation": most, "asked": most / 2, "answered": summary([per_second(turn) for turn in turns]),
            "p50_us": of("p50"), "p99_us": of("p99"), "p999_us": of("p999")}


def table(figures: dict) -> str:
    lines = [f"**{CASE.says}**", "", "| system | asked/s | answered/s | p50 µs | p99 µs | p99.9 µs | turns |", "|---|---|---|---|---|---|---|"]
    for name, one in figures.items():
        count = one["p99_us"]["of"] if one["p99_us"] else 0
        lines.append(f"| {name} | {one['asked']:,.0f} | {number(one['answered'], ',.0f')} | {number(one['p50_us'], ',.0f')} | "
                     f"{number(one['p99_us'], ',.0f')} | {number(one['p999_us'], ',.0f')} | {count} |")
    return "\n".join(lines)
