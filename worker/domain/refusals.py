"""Whose a refused read is: the chat's own, or that of a key which has lost the chat's line, or all of them.

A line can be moved to another environment by a click, and then every chat of it is refused like one that has gone. So
refusals that strike many chats are not for the chats' sake, and end nothing.
"""

from typing import Literal, NamedTuple

WINDOW_SECONDS = 120.0
MIN_CHATS = 5
PATIENCE = 4  # refusals after the first one that may be unclear: two minutes by default

Owner = Literal["chat", "line", "key", "unclear"]


class Reads(NamedTuple):
    """Chats, each counted once: those whose newest read was refused, and all that were answered."""

    refused: int
    answered: int


class View(NamedTuple):
    """Some chats, when one of them is refused: `recent` in the last two minutes, `since` since it was first refused.

    `since` is None where that was just now. `waiting`: whether some of them wait already for not being refused.
    """

    recent: Reads
    since: Reads | None
    waiting: bool = False


class Evidence(NamedTuple):
    """What is known of other chats when one is refused: of all, and of its line where that is known.

    `tracked`: how many chats are. `age`: seconds since this chat was first refused, 0 for the first time.
    """

    everybody: View
    line: View | None
    tracked: int
    age: float


def owner(evidence: Evidence, *, confirm: float) -> Owner:
    """Return whose a refusal is; while that is unclear, it ends nothing, and the chat is read again.

    What was answered in two minutes may be from before a line was lost: where most are refused since this chat was, it
    is too early to tell, for some times `confirm`, the least time between the two refusals that end a share.
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
