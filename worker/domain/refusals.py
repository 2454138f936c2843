"""Why a read is refused: because of the chat, or because the key has lost the chat's line, or all lines.

A click can move a line to another environment; then all of its chats are refused as if they were gone. So refusals of
many chats at once are not the chats' fault, and end nothing.
"""

from typing import Literal, NamedTuple

WINDOW_SECONDS = 120.0
MIN_CHATS = 5
PATIENCE = 4  # how many refusals after the first may be unclear: two minutes by default

Owner = Literal["chat", "line", "key", "unclear"]


class Reads(NamedTuple):
    """Numbers of chats: those whose latest read was refused, and those that were answered."""

    refused: int
    answered: int


class View(NamedTuple):
    """A group of chats, one of which is refused: `recent` in the last two minutes, `since` since its first refusal.

    `since` is None if that is just now. `waiting`: some of the group wait already for the line to come back.
    """

    recent: Reads
    since: Reads | None
    waiting: bool = False


class Evidence(NamedTuple):
    """What is known of other chats when one is refused: of all, and of those of its line if that is known.

    `tracked`: the number of tracked chats. `age`: seconds since this chat was first refused, 0 the first time.
    """

    everybody: View
    line: View | None
    tracked: int
    age: float


def owner(evidence: Evidence, *, confirm: float) -> Owner:
    """Return the cause of a refusal; while that is unclear it ends nothing, and the chat is read again.

    Answers within the last two minutes may predate the loss of a line: if most chats have been refused since this one
    was, it is too early to tell, for a few times `confirm`, the least time between the two refusals that end a share.
    """
    everybody, line = evidence.everybody, evidence.line
    if line is not None and _is_struck(line):
        return "line"
    if _is_struck(everybody):
        return "key"
    if evidence.tracked < MIN_CHATS or evidence.age >= min(WINDOW_SECONDS, PATIENCE * confirm):
        return "chat"
    if _may_be_struck(everybody) or (line is not None and line.recent.answered >= MIN_CHATS and _may_be_struck(line)):
        return "unclear"
    return "chat"


def _is_struck(view: View) -> bool:
    return view.waiting or (view.recent.refused >= MIN_CHATS and _are_most(view.recent))


def _may_be_struck(view: View) -> bool:
    return view.since is None or _are_most(view.since)


def _are_most(reads: Reads) -> bool:
    return 2 * reads.refused > reads.answered
