"""What must be published, derived from what the simulator really answered; imports nothing of worker/.

A position counts if a reply that listed it was sent completely. A worker that was killed (or whose Redis was away)
may not have been able to use the replies around that moment. Then the position may be missing, but only if no reply
that was surely used showed it. Every published position must be in a reply, in the order of the replies, and once.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

from simulator.answers import Answer
from tests.support.crossings import Place, check_crossings

FIELDS = (
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "sequence",
    "reference",
    "data",
)
OPTIONAL = ("subject", "reference")  # left out where they have no value
FUTURE_SECONDS = 600  # docs/reference/events.md: a position with a time further in the future is ignored
CLOCK_SECONDS = 0.05  # an event's time is cut to milliseconds, and based on Redis' clock
TRAVEL_SECONDS = 0.5  # how much longer one request may take on its way than another
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
# Replies after which surely no prompt reached a phone: status and Linq's code (None: any code).
_SURELY_NOT_SENT = {(429, None), (401, None), (403, 2011), (409, 2009)}

Entry = dict[str, str]


class Fix(NamedTuple):
    """A position as a reply or an event shows it; `updated_at` in ns since 1970 UTC."""

    longitude: float
    latitude: float
    altitude: float | None
    address: str | None
    locality: str | None
    updated_at: int | None


@dataclass
class Disturbance:
    """From `begin` to `end` (seconds since 1970 UTC) a worker was killed, or Redis was away."""

    begin: float
    end: float


@dataclass
class Share:
    """One share as the stream tells it."""

    share_id: str
    chat_id: str
    entries: list[Entry] = field(default_factory=list)
    ended_at: float = math.inf

    def types(self) -> list[str]:
        return [entry["type"] for entry in self.entries]

    def of_handle(self, handle: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.get("subject") == handle]


def nanoseconds(text: str) -> int:
    """Read RFC 3339 in UTC; raises ValueError for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a time in UTC")
    whole = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    return int(whole.timestamp()) * 1_000_000_000 + int((match[2] or "0").ljust(9, "0"))


def check(
    entries: Sequence[Entry],
    answers: Sequence[Answer],
    *,
    disturbances: Sequence[Disturbance] = (),
    superseded: Collection[str] = (),
    longest_read: float = math.inf,
    references: dict[str, str] | None = None,
    places: Mapping[str, Sequence[Place]] | None = None,
) -> dict[str, Share]:
    """Compare the stream with the replies; return the shares by id.

    Call it once the workers have stopped cleanly, or can no longer publish. `superseded`: trace ids of replies that
    came after the claim of their chat had expired and another worker had claimed it. Replies that took `longest_read`
    seconds or more may have come too late. `references`: the reference in each chat's events; `places`: the places of
    each chat's share, which never changed. Raises AssertionError.
    """
    shares = _structure(entries, references or {})
    by_chat: dict[str, list[Share]] = {}
    for share in shares.values():
        by_chat.setdefault(share.chat_id, []).append(share)
    reads: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.endpoint == "read" and answer.chat_id is not None:
            reads.setdefault(answer.chat_id, []).append(answer)
    for chat_id, chat_shares in by_chat.items():
        for before, after in pairwise(chat_shares):
            assert before.ended_at < math.inf, f"share {after.share_id} began while {before.share_id} went on"
        _positions(chat_shares, reads.get(chat_id, []), disturbances, superseded, longest_read)
        for share in chat_shares:
            told = [(entry["type"], entry.get("subject", ""), json.loads(entry["data"])) for entry in share.entries]
            check_crossings(told, (places or {}).get(chat_id, ()))
    return shares


# Structure


def _structure(entries: Sequence[Entry], references: dict[str, str]) -> dict[str, Share]:
    identifiers = [entry["id"] for entry in entries]
    assert len(set(identifiers)) == len(identifiers), "an id was published twice"
    shares: dict[str, Share] = {}
    for entry in entries:
        fields = [name for name in FIELDS if name not in OPTIONAL or entry.get(name)]
        assert list(entry) == fields, f"fields {tuple(entry)}"
        data = json.loads(entry["data"])
        about = data["properties"] if entry["type"] == "location.updated" else data
        share_id, chat_id = about["share_id"], about["chat_id"]
        share = shares.setdefault(share_id, Share(share_id, chat_id))
        assert share.ended_at == math.inf, f"{entry['type']} after location.tracking.ended"
        share.entries.append(entry)
        position = len(share.entries)
        assert entry["sequence"] == str(position)
        assert re.fullmatch(rf"{share_id}:[0-9a-f]{{16,}}", entry["id"])
        assert entry["source"] == f"/linq/chats/{chat_id}" == f"/linq/chats/{share.chat_id}"
        assert entry["specversion"] == "1.0"
        assert entry["dataschema"] == f"urn:location-worker:{entry['type']}:1"
        kind = "application/geo+json" if entry["type"] == "location.updated" else "application/json"
        assert entry["datacontenttype"] == kind
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])
        assert entry.get("reference", "") == references.get(chat_id, entry.get("reference", ""))
        assert entry.get("subject") == about.get("handle", about.get("shared_by"))
        if entry["type"] == "location.tracking.ended":
            share.ended_at = nanoseconds(entry["time"]) / 1e9
    for share in shares.values():
        _order(share)
    return shares


def _order(share: Share) -> None:
    types = share.types()
    assert "location.requested" not in types[1:]
    sharing: set[str] = set()
    for entry in share.entries:
        handle = entry.get("subject", "")
        match entry["type"]:
            case "location.sharing.started":
                assert handle not in sharing, "started twice without a stop"
                sharing.add(handle)
            case "location.updated" | "location.sharing.stale":
                assert handle in sharing, f"{entry['type']} while not sharing"
            case "location.sharing.stopped":
                assert handle in sharing, "stopped without a start"
                sharing.remove(handle)
            case _:
                pass


# Positions


def _positions(
    shares: list[Share],
    reads: list[Answer],
    disturbances: Sequence[Disturbance],
    superseded: Collection[str],
    longest_read: float,
) -> None:
    stopped: dict[str, int] = {}
    begin = 0.0
    troubles = list(disturbances)
    for share in shares:
        last = share.ended_at + CLOCK_SECONDS
        mine = [answer for answer in reads if begin <= answer.received_at <= last]
        if share.ended_at < math.inf:
            # The end of the share may overtake a read under way, and a read around the end may belong to either share.
            begin = share.ended_at - CLOCK_SECONDS
            troubles.append(Disturbance(begin, last))
        answered: dict[str, list[tuple[Fix, bool]]] = {}
        for index, answer in enumerate(mine):
            following = mine[index + 1].received_at if index + 1 < len(mine) else math.inf
            used = surely_used(answer, following, troubles, longest_read) and answer.trace_id not in superseded
            for handle, fix in shown(answer):
                answered.setdefault(handle, []).append((fix, used))
        published = {entry["subject"] for entry in share.entries if entry["type"] == "location.updated"}
        for handle in published | set(answered):
            _compare(share.of_handle(handle), answered.get(handle, []), since=stopped.get(handle, 0))
            for entry in share.of_handle(handle):
                if entry["type"] == "location.sharing.stopped":
                    stopped[handle] = nanoseconds(json.loads(entry["data"])["ended_at"])


def surely_used(answer: Answer, following: float, troubles: Iterable[Disturbance], longest_read: float) -> bool:
    """Return whether the worker that got this reply was alive and had Redis until the chat's next read."""
    if answer.outcome != "complete" or answer.sent_monotonic - answer.received_monotonic >= longest_read:
        return False
    return not any(trouble.end >= answer.received_at and trouble.begin <= following for trouble in troubles)


def shown(answer: Answer) -> Iterable[tuple[str, Fix]]:
    """Return the valid positions of a reply that was sent completely, or slowly in pieces."""
    if answer.status != 200 or answer.outcome not in ("complete", "dripped"):
        return
    for feature in answer.features or ():
        try:
            fix = fix_of(feature["geometry"]["coordinates"], feature["properties"])
            handle = feature["properties"]["handle"]
        except (KeyError, TypeError, ValueError):
            continue
        if feature["geometry"]["type"] == "Point" and (fix.updated_at or 0) / 1e9 <= answer.sent_at + FUTURE_SECONDS:
            yield handle, fix


def fix_of(coordinates: list[Any], properties: dict[str, Any]) -> Fix:
    longitude, latitude, altitude = [*coordinates, None][:3]
    if not (abs(longitude) <= 180 and abs(latitude) <= 90):
        raise ValueError("not on the map")
    time = properties.get("updated_at")
    return Fix(
        longitude,
        latitude,
        altitude,
        properties.get("address"),
        properties.get("locality"),
        None if time is None else nanoseconds(time),
    )


def _compare(entries: list[Entry], answered: list[tuple[Fix, bool]], *, since: int) -> None:
    """Compare the positions published of one handle in one share with those in the replies."""
    expected = _distinct(answered)
    published: list[Fix] = []
    stops: list[int] = [since]
    for entry in entries:
        data = json.loads(entry["data"])
        if entry["type"] == "location.updated":
            published.append(fix_of(data["geometry"]["coordinates"], data["properties"]))
        elif entry["type"] == "location.sharing.stopped":
            stops.append(nanoseconds(data["ended_at"]))
    rest = iter(expected)
    last: Fix | None = None
    for fix in published:
        for wanted, used in rest:
            if wanted == fix:
                break
            _may_be_missing(wanted, used, last, stops)
        else:
            raise AssertionError("published: a position that was not answered, or one twice, or out of order")
        last = fix
    for wanted, used in rest:
        _may_be_missing(wanted, used, last, stops)


def _may_be_missing(wanted: Fix, used: bool, last: Fix | None, stops: list[int]) -> None:
    if not used or (wanted.updated_at is not None and any(wanted.updated_at <= stop for stop in stops)):
        return
    # Without times, a return to the last position is no news if the position in between was lost.
    assert wanted.updated_at is None and wanted == last, "a position that was answered is not on the stream"  # noqa: PT018 (one reason)


def _distinct(answered: list[tuple[Fix, bool]]) -> list[tuple[Fix, bool]]:
    """Return the positions that are distinct by docs/reference/events.md.

    These have a later `updated_at` than the last one, or the same with an address or locality that had been missing;
    without a time, they have other coordinates, another address or another locality.
    """
    distinct: list[tuple[Fix, bool]] = []
    newest = -1
    for fix, used in answered:
        if fix.updated_at is None:
            fresh = not distinct or distinct[-1][0]._replace(updated_at=None) != fix
        else:
            fresh = fix.updated_at > newest or (fix.updated_at == newest and _adds(fix, distinct[-1][0]))
            newest = max(newest, fix.updated_at)
        if fresh:
            distinct.append((fix, used))
        elif used and distinct[-1][0] == fix:
            distinct[-1] = (fix, True)
    return distinct


def _adds(fix: Fix, last: Fix) -> bool:
    """Return whether a position repeats the last one, with an address or locality that had been missing."""
    had = (last.address is not None, last.locality is not None)
    has = (fix.address is not None, fix.locality is not None)
    return (
        last.updated_at == fix.updated_at
        and has != had
        and all(now >= then for now, then in zip(has, had, strict=True))
    )


# Requests


def check_budget(times: Sequence[float], rate: float) -> None:
    """Check that in any W seconds there were at most rate x (W + 1) requests (LINQ_REQUESTS_PER_SECOND)."""
    most = -math.inf  # of any window that ends with the request before
    for before, after in zip([-math.inf, *times], times, strict=False):
        most = max(most - rate * (after - before), 0.0) + 1 if before > -math.inf else 1.0
        assert most <= rate, f"{most - rate:.1f} requests too many in one window"


def check_prompts(answers: Sequence[Answer], chat_id: str, *, cooldown: float) -> int:
    """Check that every prompt but the first followed a read and the cool-down; return how many may have been sent."""
    log = [answer for answer in answers if answer.chat_id == chat_id]
    prompts = [
        answer
        for answer in log
        if answer.endpoint == "request" and not {(answer.status, None), (answer.status, answer.code)} & _SURELY_NOT_SENT
    ]
    for before, after in pairwise(prompts):
        apart = after.received_at - before.received_at + TRAVEL_SECONDS
        assert apart >= cooldown, "prompted again within the cool-down"
        between = [
            answer
            for answer in log
            if answer.endpoint == "read"
            and answer.worked
            and before.received_at < answer.decided_at < after.received_at
        ]
        assert between, "prompted again without a read"
    return len(prompts)


def read_entries(raw: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Entry]:
    """Return the result of XRANGE as entries."""
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in raw]


def count(shares: Iterable[Share], matches: Callable[[str], bool]) -> int:
    """Count the events whose type matches."""
    return sum(matches(kind) for share in shares for kind in share.types())
