"""A table of `bench/run --json` as a picture: processor time of one request, in multiples of the base's, on a logarithmic axis."""

import math
from html import escape

CASES = ("c64", "stream")
LEFT, RIGHT, ROW, TOP = 170, 90, 22, 54
WIDTH = 860
INK, FAINT, OURS, OTHERS = "#222222", "#d8d8d8", "#0b6e99", "#9aa5ad"


def svg(kept: dict, about: str, base: str = "nginx") -> str:
    """The picture as text."""
    panels = [(case, rows(kept["cases"][case])) for case in CASES if case in kept.get("cases", {})]
    panels = [(case, found) for case, found in panels if found]
    most = max((row[3] for _, found in panels for row in found), default=1)
    least = min((row[2] for _, found in panels for row in found), default=1)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    height = sum(TOP + len(found) * ROW for _, found in panels) + 50
    inside = WIDTH - LEFT - RIGHT

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - low) / max(1, high - low) * inside
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">',
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>']
    at = 0
    for case, found in panels:
        out.append(f'<text x="12" y="{at + 24}" font-weight="bold">CPU of one request, {base} = 1: {escape(case)}</text>')
        bottom = at + TOP + len(found) * ROW
        for power in range(low, high + 1):
            out.append(f'<line x1="{x(10**power):.1f}" x2="{x(10**power):.1f}" y1="{at + TOP - 12}" y2="{bottom}" stroke="{FAINT}"/>')
            out.append(f'<text x="{x(10**power):.1f}" y="{at + TOP - 16}" text-anchor="middle" fill="#666666">{10.0**power:g}</text>')
        for number, (name, middle, small, large) in enumerate(found):
            y = at + TOP + number * ROW
            color = OURS if name.startswith("keyferry") else OTHERS
            out.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
            out.append(f'<rect x="{LEFT}" y="{y + 2}" width="{max(1, x(middle) - LEFT):.1f}" height="13" fill="{color}"/>')
            out.append(f'<line x1="{x(small):.1f}" x2="{x(large):.1f}" y1="{y + 8.5}" y2="{y + 8.5}" stroke="{INK}"/>')
            out.append(f'<text x="{max(x(middle), x(large)) + 6:.1f}" y="{y + 12}">{middle:,.{0 if middle >= 100 else 1 if middle >= 10 else 2}f}</text>')
        at = bottom
    out.append(f'<text x="12" y="{height - 14}" fill="#666666">{escape(about)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def rows(case: dict) -> list[tuple]:
    """Name, median and quartiles of each system that has them."""
    found = []
    for name, one in case.items():
        ratio = (one.get("to_base") or {}).get("cpu_us")
        if ratio and name != "direct":
            found.append((name, ratio["median"], ratio["low"], ratio["high"]))
    return sorted(found, key=lambda row: row[1])
