"""Movement: recordings, and the positions that a phone on such a journey publishes.

A phone does not publish every fix: while it moves, a new position appears every 20 to 90 s; while it is still, rarely.
"""

from __future__ import annotations

import csv
import math
import random
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

TRACES = Path(__file__).parent / "traces"


@dataclass(frozen=True, slots=True)
class Fix:
    """Degrees, metres above sea level (None where not recorded)."""

    longitude: float
    latitude: float
    altitude: float | None = None


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often a phone publishes, in seconds: between two looks, and while nothing moves.

    A look publishes when the phone is `step` metres or more from its last published position.
    """

    moving: tuple[float, float] = (20.0, 90.0)
    still: tuple[float, float] = (300.0, 900.0)
    step: float = 25.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Fixes in order of time; `times` are seconds since the first one."""

    name: str
    times: tuple[float, ...]
    fixes: tuple[Fix, ...]

    def at(self, seconds: float) -> Fix:
        """Return where the phone was, `seconds` into an endless replay that runs to the end and back again."""
        length = self.times[-1]
        into = seconds % (2 * length)
        if into > length:
            into = 2 * length - into
        return self.fixes[max(bisect_right(self.times, into) - 1, 0)]


def recording_names() -> list[str]:
    """Return the recordings of this package."""
    return sorted(path.stem for path in TRACES.glob("*.csv"))


@cache
def recording(name: str) -> Recording:
    """Return the recording of that name. Raises ValueError, which names those that exist."""
    if name not in recording_names():
        raise ValueError(f"no recording named {name!r}; there are {', '.join(recording_names())}")
    times: list[float] = []
    fixes: list[Fix] = []
    with (TRACES / f"{name}.csv").open(encoding="ascii", newline="") as lines:
        for row in csv.DictReader(lines):
            times.append(float(row["t_seconds"]))
            altitude = row.get("alt")
            fixes.append(Fix(float(row["lon"]), float(row["lat"]), float(altitude) if altitude else None))
    return Recording(name, tuple(times), tuple(fixes))


@cache
def lively_offsets(name: str) -> list[float]:
    """Return the moments of a recording after which its phone covers 200 m or more within five minutes.

    In seconds into the recording, a minute apart; for starting where there is movement soon.
    """
    walked = recording(name)
    minutes = range(0, int(walked.times[-1]) - 300, 60)
    return [float(second) for second in minutes if metres(walked.at(second), walked.at(second + 300)) >= 200]


def metres(one: Fix, other: Fix) -> float:
    """Return the distance on the ground, accurate enough for a step between two looks."""
    east = math.radians(other.longitude - one.longitude) * math.cos(math.radians(one.latitude))
    north = math.radians(other.latitude - one.latitude)
    return math.hypot(east, north) * 6_371_000


def move(fix: Fix, anchor: Fix, start: Fix, course: float) -> Fix:
    """Return a fix moved as the anchor is moved to the start, and turned about it by `course` degrees.

    Distances on the ground and the altitude stay.
    """
    east = (fix.longitude - anchor.longitude) * math.cos(math.radians(anchor.latitude))
    north = fix.latitude - anchor.latitude
    sine, cosine = math.sin(math.radians(course)), math.cos(math.radians(course))
    return Fix(
        round(start.longitude + (east * cosine + north * sine) / math.cos(math.radians(start.latitude)), 6),
        round(start.latitude + north * cosine - east * sine, 6),
        fix.altitude,
    )


@dataclass(slots=True)
class Journey:
    """One phone on one recording: moved to `start` and turned by `course` degrees, or where it was recorded (None).

    Times are seconds of the journey; the first position is published at 0.
    """

    recording: Recording
    offset: float
    cadence: Cadence
    chance: random.Random
    start: Fix | None = None
    course: float = 0.0
    published_at: float = 0.0
    fix: Fix = field(init=False)
    _look_at: float = field(init=False)
    _still_until: float = field(init=False)

    def __post_init__(self) -> None:
        self.fix = self.at(0.0)
        self._plan(0.0)

    def advance(self, elapsed: float) -> None:
        """Update `fix` and `published_at` to what the phone shows `elapsed` seconds into the journey."""
        while self._look_at <= elapsed:
            look = self._look_at
            fix = self.at(look)
            if look >= self._still_until or metres(self.fix, fix) >= self.cadence.step:
                self.fix, self.published_at = fix, look
                self._plan(look)
            else:
                self._look_at = look + self.chance.uniform(*self.cadence.moving)

    def at(self, seconds: float) -> Fix:
        """Return where the phone is, this many seconds into the journey; below 0: where it was before."""
        fix = self.recording.at(self.offset + seconds)
        if self.start is None:
            return fix
        return move(fix, self.recording.at(self.offset), self.start, self.course)

    def _plan(self, now: float) -> None:
        self._look_at = now + self.chance.uniform(*self.cadence.moving)
        self._still_until = now + self.chance.uniform(*self.cadence.still)
