"""A share: one tracked chat, from the job that began it to its `location.tracking.ended`. decision.py decides on it.
The whole share is one value, so that a commit can replace it in one step. It is small, because there may be a million:
absent numbers are None (one byte when packed), not 0.0 (nine), and what is usually absent comes last, where it takes no
room at all. New fields go to the end.
"""

import enum
from typing import Literal, NamedTuple

import msgspec

from worker.domain.policy import Pace


class Prompt(enum.IntEnum):
    """How far the request to share has come."""

    NONE = 0  # a chat that is tracked without asking
    WAITING = 1  # to be sent as soon as possible
    CALLING = 2  # stored before the call: if it is found later, the prompt counts as sent
    SENT = 3
    UNCERTAIN = 4  # a read will settle it


PROMPT_IN_RESULTS: dict[Prompt, str | None] = {
    Prompt.NONE: None,
    Prompt.WAITING: "waiting",
    Prompt.CALLING: "uncertain",
    Prompt.SENT: "sent",
    Prompt.UNCERTAIN: "uncertain",
}

Phase = Literal["requested", "pending", "tracking", "ended"]
PHASES: tuple[Phase, ...] = ("requested", "pending", "tracking")


class Person(msgspec.Struct, array_like=True, omit_defaults=True):
    """One handle in a share, and what was published of it. Times of positions are ns, others s, since 1970 (UTC)."""

    handle: str
    sharing: bool = False
    updated_at: int | None = None  # newest `updated_at` published
    seen_at: float | None = None  # when a newer position was last seen, or sharing began
    content: int | None = None  # fingerprint of the position last published (freshness.py)
    longitude: float | None = None
    latitude: float | None = None
    listed: bool = False  # since sharing began
    missing_since: float | None = None  # first successful read that did not list it
    stale: bool = False  # published since the last position
    began_at: int | None = None  # ns, from webhooks
    ends_at: int | None = None  # ns, planned
    announced_at: int | None = None  # ns: creation of the newest `started` that was applied
    stopping_at: int | None = None  # ns: a `stopped` webhook came, one last read follows
    stopped_at: int | None = None  # ns: end of the last sharing
    unlisted: bool = False  # not listed by some read since it stopped
    inside: list[int] | None = (
        None  # indexes of the share's places that the person is in; None: no position of this sharing was checked
    )
    reach: float | None = None  # seconds to the nearest edge of a place at the pace last shown
    last_stop: int | None = None  # digest in the id of the last stop in this share
    corrected: int | None = None  # fingerprint of the correction last seen of the position last published


class Place(msgspec.Struct, array_like=True, frozen=True):
    """A circle on the ground: degrees, and a radius in metres. `name` is unique in its share."""

    name: str
    latitude: float
    longitude: float
    radius: float


class Share(msgspec.Struct, array_like=True, omit_defaults=True):
    """The state of one share. Times are float seconds since 1970 (UTC), intervals seconds.

    `lower` and `upper` are the caller's own bounds of the interval between scheduled reads, None where not given.
    """

    share_id: str
    reference: str
    begun_at: float
    asked: bool  # by request_location; else by track_location or a webhook
    follow: bool
    follow_for: float
    expires_at: float | None = None  # how long a request waits to be accepted
    follow_until: float | None = None
    lower: float | None = None
    upper: float | None = None
    sequence: int = 0
    prompt: Prompt = Prompt.NONE
    prompts: int = 0  # that were or may have been sent
    prompted_at: float | None = None  # last prompt in this chat, of an earlier share too
    read_at: float | None = None  # last successful read
    wanted_rate: float | None = None  # reads per second wanted while it waits
    rule: str = ""  # that chose the next read
    pace: Pace | None = None  # from the first position on
    people: list[Person] = []
    prompt_after: float | None = None
    look_first: bool = False  # read once more before the next prompt
    prompted_before: float | None = None  # what `prompted_at` returns to when a prompt turns out not to be sent
    failures: int = 0  # in a row
    pending_refusal: str | None = None  # reason of the refused read that the next one has to repeat
    pending_refusal_since: float | None = None
    hint_at: float | None = None  # a webhook said that a first position is near
    excluded: list[str] = []  # digests of handles that were forgotten
    group: bool | None = None  # None: not known
    conflict: bool = False  # Linq answered the prompt with the 409 that may mean "shares already"
    refusal: tuple[str, int | None] | None = None  # reason and code, for a job that runs again
    ended: str | None = None  # reason
    places: list[Place] = []
    until: str | None = None  # name of the place whose entering ends the share
    max_age: float | None = None  # seconds: with `follow` false, an older position does not end the share
    stop_when_done: bool = False  # ask Linq to end the contact's share when this one has served its purpose
    line: str = ""  # digest of our line, empty if unknown
    parked: bool = False  # the key has lost the line: the chat waits until another one of the line can be read

    @property
    def phase(self) -> Phase:
        """The phase of the share, as metrics and `status` show it."""
        if self.ended is not None:
            return "ended"
        if self.pace is not None:
            return "tracking"
        if self.prompt in (Prompt.WAITING, Prompt.CALLING):
            return "requested"
        return "pending"


class Tally(NamedTuple):
    """What one share adds to the fleet's sums; whole numbers (millionths), so that sums never drift."""

    weights: int = 0
    wanted: int = 0
    tracking: int = 0
    pending: int = 0
    requested: int = 0


NOTHING = Tally()


def tally(share: Share) -> Tally:
    """Return what the share adds to the fleet's sums now."""
    pace = share.pace
    if share.ended is not None:
        return NOTHING
    if pace is not None:
        return Tally(int(pace.weight * 1e6), 0, 1, 0, 0)
    wanted = int((share.wanted_rate or 0.0) * 1e6)
    if share.phase == "requested":
        return Tally(0, wanted, 0, 0, 1)
    return Tally(0, wanted, 0, 1, 0)
