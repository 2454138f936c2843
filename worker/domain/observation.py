"""What a call to Linq can show: every reply, and every absence of one, becomes one of these.

Reads give Features, Fault, Throttled, Refused, LineLost or Suspended; prompts give Sent, AlreadySharing, Later,
Uncertain, Rejected or Suspended. worker/linq decides which; reads.py and prompts.py decide what follows from it.
"""

from typing import Literal

import msgspec

from location_client.data import RejectionReason


class Position(msgspec.Struct, frozen=True):
    """One valid position of one contact, normalized.

    `handle` is E.164 with `+` or a lower-case e-mail address; degrees are WGS 84, `altitude` metres; `updated_at` is
    Linq's time of the position in nanoseconds since 1970 (UTC), None where Linq gave none.
    """

    handle: str
    longitude: float
    latitude: float
    altitude: float | None
    address: str | None
    locality: str | None
    updated_at: int | None


class InvalidFeature(msgspec.Struct, frozen=True):
    """A feature that is not a valid position: whose it is (None if unknown), and why it is not, without its data."""

    handle: str | None
    reason: str


class Features(msgspec.Struct, frozen=True):
    """A successful read: the listed positions, and the listed features that are not valid positions."""

    positions: list[Position]
    invalid: list[InvalidFeature]


class Fault(msgspec.Struct, frozen=True):
    """No usable answer: nothing is known of the share. `kind` is a metric label, `detail` a log text without data."""

    kind: Literal["server_error", "timeout", "broken", "malformed", "unexpected"]
    detail: str


class Throttled(msgspec.Struct, frozen=True):
    """429 on a read; `retry_after` in seconds, None where the reply did not say."""

    retry_after: float | None


class Refused(msgspec.Struct, frozen=True):
    """404/2001, 409/2013 or another 403 than 2011 on a read: final only when the next read says the same.

    `final` is false while it is unclear whether the refusal is the chat's own.
    """

    reason: Literal["chat_not_found", "chat_unavailable", "forbidden"]
    status: int
    code: int | None
    final: bool = True


class LineLost(msgspec.Struct, frozen=True):
    """A refusal like Refused, of so many chats at once that its cause is the account: the key has lost a line."""

    status: int
    code: int | None


class Suspended(msgspec.Struct, frozen=True):
    """401 or 403/2011: it concerns the account, so everything pauses."""

    status: int
    code: int | None


class Sent(msgspec.Struct, frozen=True):
    """The prompt is on its way."""


class AlreadySharing(msgspec.Struct, frozen=True):
    """A 409 without a known meaning (or 2015): a read will show whether the contact shares already."""


class Later(msgspec.Struct, frozen=True):
    """The prompt was not sent and may be tried again after `retry_after` seconds (None: not said)."""

    reason: Literal["throttled", "chat_being_created", "refused_by_proxy", "not_replicated"]
    retry_after: float | None


class Uncertain(msgspec.Struct, frozen=True):
    """5xx, timeout or broken connection on a prompt; `possibly_sent` is False only if no connection was made."""

    possibly_sent: bool
    detail: str


class Rejected(msgspec.Struct, frozen=True):
    """The prompt was refused for good; `detail` is Linq's message (for people)."""

    reason: RejectionReason
    status: int
    code: int | None
    detail: str


ReadObservation = Features | Fault | Throttled | Refused | LineLost | Suspended
PromptOutcome = Sent | AlreadySharing | Later | Uncertain | Rejected | Suspended
