"""The plot of arrivals: bars of mean delays, a panel for each budget."""

from collections.abc import Sequence
from typing import Protocol

WIDTH, HEIGHT = 960, 360
LEFT, TOP, BOTTOM = 24, 96, 64
GAP = 36
BAR, BETWEEN = 22, 3
COLOURS = (("#8c959f", "#8b949e"), ("#54a0e0", "#4d93d0"), ("#0a5fd6", "#58a6ff"))  # on light and on dark


class Bar(Protocol):
    """The parts of a figure that are drawn."""

    @property
    def with_places(self) -> float:
        """The share of the people who have places."""

    @property
    def interval(self) -> float:
        """Seconds between two reads of one person."""

    @property
    def policy(self) -> str:
        """The policy's name."""

    @property
    def mean(self) -> float:
        """The mean delay of arrivals in seconds."""


def render(figures: Sequence[Bar], policies: Sequence[str]) -> str:
    """Draw the mean delay of arrivals as one SVG document, which follows the viewer's light or dark scheme."""
    intervals = sorted({figure.interval for figure in figures}, reverse=True)
    shares = sorted({figure.with_places for figure in figures})
    width = (WIDTH - 2 * LEFT - GAP * (len(intervals) - 1)) / len(intervals)
    body = [_text(LEFT, 30, "How late an arrival at a place is seen, for the same requests", "title")]
    left = float(LEFT)
    for number, policy in enumerate(policies):
        body += [
            f'<rect class="bar{number}" x="{left}" y="46" width="12" height="12"/>',
            _text(left + 18, 57, policy, "axis"),
        ]
        left += 40 + 7.2 * len(policy)
    for column, interval in enumerate(intervals):
        left = LEFT + column * (width + GAP)
        body.append(_text(left, TOP - 8, f"a read of each person every {interval:.0f} s", "head"))
        panel = [figure for figure in figures if figure.interval == interval]
        peak = max(figure.mean for figure in panel)
        group = width / len(shares)
        for row, share in enumerate(shares):
            start = left + row * group + (group - len(policies) * (BAR + BETWEEN)) / 2
            for number, policy in enumerate(policies):
                mean = next(one.mean for one in panel if (one.with_places, one.policy) == (share, policy))
                height = (HEIGHT - TOP - BOTTOM - 18) * mean / peak
                x, y = start + number * (BAR + BETWEEN), HEIGHT - BOTTOM - height
                body += [
                    f'<rect class="bar{number}" x="{x:.1f}" y="{y:.1f}" width="{BAR}" height="{height:.1f}"/>',
                    _text(x + BAR / 2, y - 4, f"{mean:.0f}", "value", "middle"),
                ]
            body.append(_text(left + (row + 0.5) * group, HEIGHT - BOTTOM + 18, f"{share:.0%}", "axis", "middle"))
        body.append(
            f'<line class="ground" x1="{left}" x2="{left + width}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
        )
    what = "share of the people who have places; mean delay in seconds"
    body.append(_text(WIDTH / 2, HEIGHT - 16, what, "axis", "middle"))
    return "\n".join([_head(), *body, "</svg>", ""])


def _head() -> str:
    light = "".join(f".bar{number}{{fill:{one}}}" for number, (one, _) in enumerate(COLOURS))
    dark = "".join(f".bar{number}{{fill:{one}}}" for number, (_, one) in enumerate(COLOURS))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="Bars of the mean delay of arrivals">\n'
        "<style>text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:17px;font-weight:600}"
        ".head{font-weight:600}.value{font-size:11px}.axis{fill:#59636e}.ground{stroke:#59636e}"
        f"{light}@media(prefers-color-scheme:dark){{text{{fill:#f0f6fc}}.axis{{fill:#9198a1}}{dark}}}</style>"
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
