"""Draw what `location-worker estimate` computes: `python -m benchmarks.estimate docs/estimate.svg`, some seconds."""

import math
from pathlib import Path

import click

from worker.estimation import Crowd, Estimate, Terms, estimate

PEOPLE = 200  # plenty of requests, so that each person costs the same
RATE = 20.0
MAX_INTERVAL = 600.0
LEAST = (30.0, 60.0, 120.0, 300.0, 600.0)
MOVING = {0.1: ("#d1700f", "#f0983e"), 0.3: ("#0a5fd6", "#58a6ff"), 1.0: ("#8250df", "#bc8cff")}  # light, dark

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 32, 76, 58
ACROSS = (5.0, 10.0, 20.0, 50.0, 100.0)  # reads per person and hour
UP = (20.0, 50.0, 100.0, 200.0, 400.0)  # seconds


def render(curves: dict[float, list[Estimate]]) -> str:
    """Draw the mean delay against the reads that it takes, a curve for each share of people on the move."""
    body = [*_head(), *_axes()]
    for number, (moving, found) in enumerate(curves.items()):
        points = [(_x(one.requests_per_day / PEOPLE / 24), _y(one.mean_delay)) for one in found]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        body.append(f'<path class="line c{number}" d="{path}"/>')
        body += [f'<circle class="c{number}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points]
        body.append(_text(WIDTH - RIGHT - 12, TOP + 24 + 20 * number, f"{moving:.0%} on the move", f"f{number}", "end"))
    for least, one in zip(LEAST, curves[0.3], strict=True):
        x, y = _x(one.requests_per_day / PEOPLE / 24), _y(one.mean_delay)
        body.append(_text(x - 8, y + 18, f"every {least:g} s", "f1", "end"))
    return "\n".join([*body, "</svg>", ""])


def _x(reads: float) -> float:
    share = math.log(reads / ACROSS[0]) / math.log(ACROSS[-1] / ACROSS[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(delay: float) -> float:
    share = math.log(delay / UP[0]) / math.log(UP[-1] / UP[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _head() -> list[str]:
    light, dark = (
        "".join(
            f".c{number}{{stroke:{colours[scheme]}}}circle.c{number},.f{number}{{fill:{colours[scheme]}}}"
            for number, colours in enumerate(MOVING.values())
        )
        for scheme in (0, 1)
    )
    title = "What people cost, and how fresh their positions are"
    return [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img" aria-label="{title}">'
        ),
        "<style>text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#57606a}",
        ".title{font-size:17px;font-weight:600;fill:#1f2328}.ground{fill:#fff}.grid{stroke:#d8dee4}",
        f".line{{fill:none;stroke-width:2.5}}{light}",
        (
            "@media (prefers-color-scheme: dark){text{fill:#9198a1}.title{fill:#f0f6fc}.ground{fill:#0d1117}"
            f".grid{{stroke:#2a313c}}{dark}}}</style>"
        ),
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        _text(24, 34, title, "title"),
        _text(24, 54, "mean delay of a position by the reads that it takes; points: the least time between two reads"),
    ]


def _axes() -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    items = []
    for delay in UP:
        items.append(f'<path class="grid" d="M{LEFT} {_y(delay):.1f}H{right}"/>')
        items.append(_text(LEFT - 8, _y(delay) + 4, f"{delay:g} s", "", "end"))
    for reads in ACROSS:
        items.append(f'<path class="grid" d="M{_x(reads):.1f} {TOP}V{bottom}"/>')
        items.append(_text(_x(reads), bottom + 18, f"{reads:g}", "", "middle"))
    items.append(_text((LEFT + right) / 2, HEIGHT - 14, "reads of a person and hour", "", "middle"))
    return items


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


@click.command(help=__doc__)
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
def main(*, file: Path) -> None:
    """Estimate and draw."""
    curves = {
        moving: [estimate(Crowd(PEOPLE, moving), Terms(least, MAX_INTERVAL, RATE)) for least in LEAST]
        for moving in MOVING
    }
    file.write_text(render(curves), encoding="utf-8")


if __name__ == "__main__":
    main()
