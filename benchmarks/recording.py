"""What a POLL_LOG tells: when each share was read, and when its positions could be read.

One JSON line for each read: `{"time": …, "share": …, "updated_at": …, "changed": …, "rule": …}`, times in
seconds since 1970 (UTC), `updated_at` null where it is not known. No handles, no coordinates.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, NamedTuple

import msgspec

from benchmarks.simulated import Chat, Fleet, Result, Scenario

# Between 2001 and 2100: times in milliseconds, or of a clock that was never set, would replay for centuries.
Time = Annotated[float, msgspec.Meta(ge=1e9, le=4.1e9)]
INSTANT = 0.001  # seconds; tells "just after" from "at", and is larger than rounding errors
MAX_PROBLEMS = 5


class Read(msgspec.Struct, frozen=True):
    """One line of the log."""

    time: Time
    share: str
    updated_at: Time | None
    changed: bool
    rule: str


class Recording(NamedTuple):
    """A log, read: its shares' reads in order, the lines that could not be used, and why the first of them."""

    shares: dict[str, list[Read]]
    lines: int
    bad: int
    problems: list[str]
    rules: Counter[str]


class Stretch(NamedTuple):
    """A share while it was tracked without a pause: its reads and the (readable, updated_at) of its positions."""

    share: str
    reads: list[float]
    positions: list[tuple[float, float]]


def load(lines: Iterable[bytes]) -> Recording:
    """Read a log; lines of another form are counted and told apart by number and reason, never by content."""
    decoder = msgspec.json.Decoder(Read)
    shares: dict[str, list[Read]] = defaultdict(list)
    rules: Counter[str] = Counter()
    count = bad = 0
    problems: list[str] = []
    for line in lines:
        count += 1
        try:
            read = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            bad += 1
            if len(problems) < MAX_PROBLEMS:
                problems.append(f"line {count}: {error}")
            continue
        shares[read.share].append(read)
        rules[read.rule] += 1
    for reads in shares.values():
        reads.sort(key=lambda read: read.time)  # several workers append to one file
    return Recording(dict(shares), count, bad, problems, rules)


def stretches(recording: Recording, *, pause: float) -> list[Stretch]:
    """Cut each share's tracking where nothing was read for more than `pause` seconds.

    Reads before a share's first position are left out: they follow another schedule. A position is readable
    from its `updated_at`, but not before a later read that did not show it; one without a time from the middle
    between the two reads that it lies between.
    """
    found = []
    for share, reads in recording.shares.items():
        first = next((index for index, read in enumerate(reads) if read.changed or read.updated_at), len(reads))
        tracked = reads[first:]
        if not tracked:
            continue
        cuts = [0, *(at for at, (a, b) in enumerate(pairwise(tracked), 1) if b.time - a.time > pause)]
        for start, end in pairwise([*cuts, len(tracked)]):
            part = tracked[start:end]
            found.append(Stretch(share, [read.time for read in part], _positions(part)))
    return found


def _positions(reads: list[Read]) -> list[tuple[float, float]]:
    first = reads[0]
    positions = []
    if first.changed or first.updated_at:
        known = first.time - INSTANT
        positions.append((known, min(first.updated_at or known, known)))
    for before, read in pairwise(reads):
        if not read.changed:
            continue
        updated_at = read.updated_at
        if updated_at is None:
            updated_at = (before.time + read.time) / 2.0
        readable = max(before.time + INSTANT, min(updated_at, read.time - INSTANT))
        # The second of two positions is the newer one, whatever the clocks said.
        updated_at = max(updated_at, positions[-1][1] + INSTANT) if positions else updated_at
        positions.append((readable, updated_at))
    return positions


def scenario(parts: list[Stretch], *, burst: float) -> Scenario:
    """Turn what was recorded into a fleet on the simulated clock, which starts with the first read."""
    begin = min(part.reads[0] for part in parts)
    chats = [
        Chat(
            id=part.share,
            start=part.reads[0] - begin,
            end=part.reads[-1] - begin + 2.0 * INSTANT,
            end_known=True,
            # Whether somebody moved is not recorded.
            updates=[(updated_at - begin, readable - updated_at, 0.0) for readable, updated_at in part.positions],
        )
        for part in parts
    ]
    return Scenario(
        name="recorded",
        horizon_s=max(chat.end or 0.0 for chat in chats),
        warmup_s=-math.inf,
        burst=burst,
        mean_alive=len(chats),
        rates={},
        throttle=[],
        chats=chats,
        reference={},
        bounds={},
    )


def as_recorded(fleet: Fleet, parts: list[Stretch]) -> Result:
    """Return the delays of the reads that really took place."""
    begin = min(part.reads[0] for part in parts)
    reads = sorted((time - begin, chat) for chat, part in enumerate(parts) for time in part.reads)
    for time, chat in reads:
        fleet.read(chat, time)
    return fleet.result(len(reads), 0)
