"""The demo's view: who was asked, who moves, how old each position is, what happened last."""

import math
import statistics
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from location_client import Event, Feature, Place
from worker.text import RULES, clean, counted, describe_event, in_words, seconds_between

# At most: more than any terminal shows. At least: fewer would not show what is going on.
_MAX_EVENTS = 100
_MIN_EVENTS = 3
# Lines that are neither contacts nor events: table head, blank line, cursor line.
_OTHER_LINES = 5
# Width from which a terminal also has room for the table's last column.
_WIDE = 100
_METRES_PER_DEGREE = 111_195

_STATES = {
    "location.requested": "asked",
    "location.sharing.started": "shares",
    "location.updated": "shares",
    "location.sharing.stale": "stands still",
    "location.sharing.stopped": "stopped",
    "location.request.expired": "did not answer",
}
_MAX_RULES = 4
_COLOURS = {"asked": "cyan", "shares": "green", "stands still": "yellow", "stopped": "yellow"}


@dataclass(slots=True)
class Contact:
    """One simulated person. `position_at` in seconds since 1970 (UTC), `moved` in metres along the
    published positions.
    """

    name: str
    handle: str
    chat_id: str
    state: str = "waits"
    position_at: float | None = None
    place: tuple[float, float] | None = None
    moved: float = 0.0
    positions: int = 0
    polls: int = 0
    rule: str = ""
    last_event: str = ""
    places: list[Place] = field(default_factory=list)


@dataclass(slots=True)
class Scene:
    """Everything that the demo knows."""

    contacts: dict[str, Contact]
    counts: Counter[str] = field(default_factory=Counter)
    ages: list[float] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_EVENTS))

    def take(self, event: Event) -> str:
        """Learn from an event; return the line that describes it."""
        line = describe_event(event)
        self.counts[event.type] += 1
        contact = self.contacts.get(event.chat_id or "")
        if contact is None:
            self.last.append(line)
            return line
        self.last.append(describe_event(event, who=contact.name))
        contact.last_event = event.type.removeprefix("location.")
        if event.type == "location.request.rejected":
            contact.state = f"refused: {event.data['reason']}"
        contact.state = _STATES.get(event.type, contact.state)
        if event.type == "location.updated":
            self._move(contact, event.data)
        return line

    def _move(self, contact: Contact, position: Feature) -> None:
        longitude, latitude = position["geometry"]["coordinates"][:2]
        if contact.place is not None:
            contact.moved += _metres(contact.place, (longitude, latitude))
        contact.place = (longitude, latitude)
        contact.positions += 1
        known = position["properties"]
        contact.position_at = datetime.fromisoformat(known["updated_at"] or known["received_at"]).timestamp()
        age = seconds_between(known["updated_at"], known["received_at"])
        # The first position of somebody who shared before may have any age.
        if not math.isnan(age) and contact.positions > 1:
            self.ages.append(age)

    def view(self, now: float, *, width: int, height: int) -> Group:
        """Draw the contacts, and below them as many of the latest events as fit; `now` in seconds since 1970 (UTC)."""
        wide = width >= _WIDE
        table = Table(box=box.SIMPLE_HEAD, expand=wide, show_edge=False, pad_edge=False, collapse_padding=True)
        for column in ("contact", "state", "position", "moved", "positions", "polls", "rule", "last event")[: 7 + wide]:
            right = column in {"position", "moved", "positions", "polls"}
            table.add_column(column, justify="right" if right else "left", no_wrap=True)
        for contact in self.contacts.values():
            cells = (
                contact.name,
                Text(contact.state, style=_COLOURS.get(contact.state, "red" if ":" in contact.state else "")),
                "" if contact.position_at is None else f"{in_words(max(0.0, now - contact.position_at))} old",
                f"{contact.moved:.0f} m" if contact.positions > 1 else "",
                str(contact.positions or ""),
                str(contact.polls or ""),
                contact.rule,
                contact.last_event,
            )
            table.add_row(*cells[: 7 + wide])
        room = height - len(self.contacts) - _OTHER_LINES
        rules = self._rules()[: max(0, min(_MAX_RULES, room - _MIN_EVENTS - 1))]
        told = [*rules, ""] if rules else []
        last = list(self.last)[-max(_MIN_EVENTS, room - len(told)) :]
        lines = [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in (*told, *last)]
        return Group("", table, "", *lines)

    def _rules(self) -> list[str]:
        """Return what the rules mean that chose the next reads, the commonest first."""
        common = Counter(contact.rule for contact in self.contacts.values() if contact.rule in RULES).most_common()
        return [f"{rule}: {RULES[rule]}" for rule, _ in common]

    def line(self, now: float) -> str:
        """Return the state of everybody in one line."""
        states = Counter(contact.state for contact in self.contacts.values())
        told = ", ".join(f"{number} {state}" for state, number in states.items())
        newest = [now - contact.position_at for contact in self.contacts.values() if contact.position_at]
        age = f"; newest position {in_words(max(0.0, min(newest)))} old" if newest else ""
        return f"{told}; {counted(self.positions, 'position')}, {counted(self.polls, 'poll')}{age}"

    @property
    def positions(self) -> int:
        """Return how many positions were published."""
        return self.counts["location.updated"]

    @property
    def polls(self) -> int:
        """Return how many reads were made."""
        return sum(contact.polls for contact in self.contacts.values())

    def summary(self) -> list[str]:
        """Return a few lines on what has happened."""
        states = Counter(contact.state for contact in self.contacts.values())
        moved = sum(contact.moved > 0 for contact in self.contacts.values())
        told = ", ".join(f"{number} {state}" for state, number in states.items())
        reads = f"{counted(self.positions, 'position')} from {counted(self.polls, 'poll')}"
        lines = [
            f"{counted(len(self.contacts), 'contact')}: {told}",
            f"{reads}; {counted(moved, 'contact')} moved",
        ]
        if self.ages:
            lines.append(f"median age of a position when it was published: {statistics.median(self.ages):.1f} s")
        lines.append("events:")
        lines += [f"  {number:5} {clean(kind)}" for kind, number in self.counts.most_common()]
        return lines


def _metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance of two places (longitude, latitude) that are near each other."""
    east = (other[0] - one[0]) * math.cos(math.radians(one[1]))
    return math.hypot(east, other[1] - one[1]) * _METRES_PER_DEGREE
