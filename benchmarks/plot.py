"""The plot of freshness against requests: delays relative to a fixed interval that costs the same."""

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from benchmarks.simulated import Result

WIDTH, HEIGHT = 960, 660
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 134, 56
GAP_X, GAP_Y = 28, 44
STYLES = {  # line colour on a light and on a dark background, width, dashes
    "fixed interval": ("#6e7781", "#8b949e", 1.75, ""),
    "backoff x2, tuned": ("#d1700f", "#f0983e", 1.75, ""),
    "backoff, overbooked": ("#d1700f", "#f0983e", 1.75, "5 4"),
    "square root alone": ("#54a0e0", "#4d93d0", 1.75, "5 4"),
    "this worker": ("#0a5fd6", "#58a6ff", 3.25, ""),
    "clairvoyant": ("#8250df", "#bc8cff", 1.75, "1.5 4"),
}


class Panel(NamedTuple):
    """One fleet: for each policy its results, one for each budget."""

    title: str
    results: dict[str, list[Result]]


class _Frame(NamedTuple):
    left: float
    top: float
    width: float
    height: float
    least: float  # reads per hour at the left edge
    most: float  # reads per hour at the right edge
    limit: float  # relative delay at the top

    def x(self, per_hour: float) -> float:
        return self.left + self.width * math.log(per_hour / self.least) / math.log(self.most / self.least)

    def y(self, relative: float) -> float:
        return self.top + self.height * (1.0 - relative / self.limit)


def render(panels: Sequence[Panel], per_hour: Sequence[float], *, ours: str, against: str) -> str:
    """Draw a column for each fleet, means above and 95th percentiles below, as one SVG document.

    Delays are relative to those of the policy named `against`; `ours` is drawn last, its means in seconds below some of
    its points. The document follows the viewer's light or dark scheme.
    """
    width = (WIDTH - LEFT - RIGHT - GAP_X * (len(panels) - 1)) / len(panels)
    height = (HEIGHT - TOP - BOTTOM - GAP_Y) / 2
    body = [*_title(), *_legend(list(panels[0].results))]
    for row, (measure, name) in enumerate((("mean", "mean delay"), ("p95", "95th percentile of delay"))):
        relative = [_relative(panel, measure, against) for panel in panels]
        peak = max(max(values) for curves in relative for values in curves.values())
        limit = math.ceil(peak * 2.0 + 0.1) / 2.0
        top = TOP + row * (height + GAP_Y)
        for column, (panel, curves) in enumerate(zip(panels, relative, strict=True)):
            left = LEFT + column * (width + GAP_X)
            frame = _Frame(left, top, width, height, per_hour[0], per_hour[-1], limit)
            body += _axes(frame, per_hour, first=column == 0, last=row == 1)
            if row == 0:
                body.append(_text(left, top - 10, panel.title, "head"))
            order = sorted(curves, key=lambda policy: policy == ours)
            body += [_curve(frame, per_hour, curves[policy], policy) for policy in order]
            if row == 0:
                body += _marks(frame, per_hour, curves[ours], [result.mean for result in panel.results[ours]])
        body.append(
            f'<text class="axis" text-anchor="middle" transform="translate(24 {top + height / 2:.1f})'
            f' rotate(-90)">{name}</text>'
        )
    body.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 14, "reads per chat and hour", "axis", "middle"))
    return "\n".join([_head(ours), *body, "</svg>", ""])


def _relative(panel: Panel, measure: str, against: str) -> dict[str, list[float]]:
    base = [getattr(result, measure) for result in panel.results[against]]
    return {
        policy: [getattr(result, measure) / of for result, of in zip(results, base, strict=True)]
        for policy, results in panel.results.items()
    }


def _head(ours: str) -> str:
    light, dark = (
        "".join(f".p{number}{{stroke:{style[scheme]}}}" for number, style in enumerate(STYLES.values()))
        for scheme in (0, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}" role="img" aria-label="Delay of positions against requests, by polling policy">\n'
        "<style>\n"
        "text{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#57606a}\n"
        ".title{font-size:17px;font-weight:600;fill:#1f2328}.head{font-size:13px;font-weight:600;fill:#1f2328}\n"
        ".ground{fill:#fff}.grid{stroke:#d8dee4;stroke-width:1}.base{stroke:#afb8c1;stroke-width:1}\n"
        f".line{{fill:none;stroke-linejoin:round;stroke-linecap:round}}{light}\n"
        f".mark{{font-weight:600;fill:{STYLES[ours][0]};stroke:#fff;stroke-width:4px;paint-order:stroke}}\n"
        "@media (prefers-color-scheme: dark){"
        "text{fill:#9198a1}.title,.head{fill:#f0f6fc}.ground{fill:#0d1117}.grid{stroke:#2a313c}"
        f".base{{stroke:#656c76}}.mark{{fill:{STYLES[ours][1]};stroke:#0d1117}}{dark}}}\n"
        "</style>\n"
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
    )


def _title() -> list[str]:
    return [
        _text(24, 34, "How late positions are seen, for the same number of requests", "title"),
        _text(
            24,
            54,
            "relative to reading every chat at one fixed interval; lower is fresher; in blue: this worker's mean delay",
            "axis",
        ),
    ]


def _legend(policies: list[str]) -> list[str]:
    items = []
    x = 24.0
    for policy in policies:
        items += [_path(f"M{x:.1f} 82h26", policy), _text(x + 33, 86, policy, "axis")]
        x += 33 + 6.3 * len(policy) + 28
    return items


def _axes(frame: _Frame, per_hour: Sequence[float], *, first: bool, last: bool) -> list[str]:
    items = []
    bottom = frame.top + frame.height
    step = 0.5 if frame.limit <= 2.0 else 1.0
    for number in range(math.floor(frame.limit / step) + 1):
        share = number * step
        y = frame.y(share)
        kind = "base" if share in {0.0, 1.0} else "grid"
        items.append(f'<path class="{kind}" d="M{frame.left:.1f} {y:.1f}h{frame.width:.1f}"/>')
        if first:
            items.append(_text(frame.left - 8, y + 4, f"{share:.0%}", "axis", "end"))
    for value in per_hour:
        x = frame.x(value)
        items.append(f'<path class="base" d="M{x:.1f} {bottom:.1f}v4"/>')
        if last:
            items.append(_text(x, bottom + 18, f"{value:g}", "axis", "middle"))
    return items


def _curve(frame: _Frame, per_hour: Sequence[float], values: list[float], policy: str) -> str:
    points = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in zip(per_hour, values, strict=True)]
    return _path("M" + "L".join(points), policy)


def _marks(frame: _Frame, per_hour: Sequence[float], values: list[float], seconds: list[float]) -> list[str]:
    return [
        _text(frame.x(per_hour[at]), frame.y(values[at]) + 19, f"{seconds[at]:.0f} s", "mark", anchor)
        for at, anchor in ((0, "start"), (len(per_hour) // 2 - 1, "middle"), (len(per_hour) - 2, "middle"))
    ]


def _path(d: str, policy: str) -> str:
    _, _, width, dashes = STYLES[policy]
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path class="line p{list(STYLES).index(policy)}" stroke-width="{width}"{pattern} d="{d}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
