"""The figures as JSON and as tables."""

from .cases import CASES
from .turns import (Figures, cpu_per_request_us, first_piece, latency, load_per_request_us, of_helpers_us, per_second,
                    provider_per_request_us, ratios, summary)

READ = {
    "per_second": per_second,
    "p50_us": latency("p50"),
    "p99_us": latency("p99"),
    "first_p50_us": first_piece("p50"),
    "cpu_us": cpu_per_request_us,
    "helpers_cpu_us": of_helpers_us,
    "provider_cpu_us": provider_per_request_us,
    "load_cpu_us": load_per_request_us,
    "pieces": lambda turn: turn["pieces_per_answer"],
    "gathered": lambda turn: turn["gathered"] / turn["requests"] if turn["requests"] else None,
    "others_cores": lambda turn: turn["machine"]["others"] / turn["seconds"],
    "interrupts_cores": lambda turn: turn["machine"]["interrupts"] / turn["seconds"],
}
BASE = "nginx"


def of_case(figures: dict[str, Figures], base: str = BASE) -> dict:
    """What is kept of a case: medians, and ratios to the base and the time added to direct, by system."""
    kept = {}
    for name, mine in figures.items():
        if mine.failed or not mine.turns:
            kept[name] = {"failed": mine.failed or "no turn"}
            continue
        one = {key: summary(mine.of(read)) for key, read in READ.items()}
        one |= {"memory_mib": mine.memory, "repeated": mine.repeated, "disturbed": mine.disturbed}
        if base in figures and figures[base].turns:
            one["to_base"] = {key: summary(ratios(mine, figures[base], READ[key]))
                              for key in ("per_second", "p50_us", "p99_us", "cpu_us")}
        if "direct" in figures and name != "direct":
            pairs = zip(mine.of(READ["p50_us"]), figures["direct"].of(READ["p50_us"]))
            one["added_p50_us"] = summary([one_us - other_us for one_us, other_us in pairs])
        kept[name] = one
    return kept


def table(case: str, kept: dict, base: str = BASE) -> str:
    """A case for people: Markdown."""
    streams = CASES[case].stream
    head = ["system", "streams/s" if streams else "requests/s", "p50 µs", "p99 µs", "added p50 µs", "CPU µs", f"CPU to {base}",
            "(quartiles)", f"rate to {base}", "peak MiB"]
    lines = [f"**{CASES[case].says}**", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, one in kept.items():
        if "failed" in one:
            lines.append(f"| {name} | " + " | ".join(["–"] * (len(head) - 1)) + " |")
            continue
        to = one.get("to_base") or {}
        helpers = f" + {one['helpers_cpu_us']['median']:.0f}" if one["helpers_cpu_us"] else ""
        lines.append("| " + " | ".join([
            name + marks(one),
            number(one["per_second"], ",.0f"), number(one["p50_us"], ",.0f"), number(one["p99_us"], ",.0f"),
            number(one.get("added_p50_us"), "+,.0f"), number(one["cpu_us"], ",.1f") + helpers,
            number(to.get("cpu_us"), ".2f"), quartiles(to.get("cpu_us")), number(to.get("per_second"), ".2f"),
            f"{one['memory_mib'].get('peak', 0):,.0f}"]) + " |")
    return "\n".join(lines)


def marks(one: dict) -> str:
    """`*`: turns that others disturbed count. `†`: streams were not passed on as they came."""
    late = one["gathered"] and one["gathered"]["median"] > 0.01
    return (" *" if one["disturbed"] else "") + (" †" if late else "")


def number(value: dict | None, form: str) -> str:
    return "–" if value is None else format(value["median"], form)


def quartiles(value: dict | None) -> str:
    return "–" if value is None else f"{value['low']:.2f}–{value['high']:.2f}"


def compared(figures: dict[str, Figures], pairs: list[tuple[str, str]]) -> str:
    """Two builds of the same program side by side."""
    lines = ["| of the same rounds | CPU | quartiles | rate | p50 | p99 |", "|---|---|---|---|---|---|"]
    for one, other in pairs:
        def ratio(key):
            return summary(ratios(figures[one], figures[other], READ[key]))
        cpu = ratio("cpu_us")
        lines.append(f"| {one} / {other} | {number(cpu, '.3f')} | {quartiles(cpu)} | {number(ratio('per_second'), '.3f')} | "
                     f"{number(ratio('p50_us'), '.3f')} | {number(ratio('p99_us'), '.3f')} |")
    return "\n".join(lines)
