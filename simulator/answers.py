"""The log of replies: what the APIs really answered, for judging a client."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal

from simulator.faults import Endpoint, Kind

Outcome = Literal["complete", "cut", "hung", "reset", "dripped", "abandoned"]
"""`complete`: handed to the connection as a whole (a client that was killed may not have read it). `dripped`: sent in
pieces, and the client may have gone meanwhile. `abandoned`: the client had gone before the reply was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what became of it.

    `received_at`, `decided_at` (when the world was asked, and changed), `sent_at`: seconds since 1970 UTC;
    `…_monotonic`: the same instants on the machine's monotonic clock. `status`: what was sent, None where nothing was.
    `worked`: whether the request was carried out (and was not refused). `prompted`: it put a prompt on a phone.
    `features`: those of the reply as sent, None where the reply had no list of features.
    """

    number: int
    endpoint: Endpoint
    method: str
    path: str
    chat_id: str | None
    received_at: float
    received_monotonic: float
    decided_at: float
    sent_at: float
    sent_monotonic: float
    status: int | None
    code: int | None
    outcome: Outcome
    worked: bool
    prompted: bool
    features: list[Any] | None
    fault: Kind | None
    trace_id: str
    request: Any = None

    def wire(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class AnswerLog:
    """The newest `keep` answers, and counts that are never forgotten."""

    def __init__(self, keep: int = 200_000) -> None:
        self.answers: deque[Answer] = deque(maxlen=keep)
        self.requests: dict[str, int] = {}
        self.prompts: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """Return the number of the next answer; numbers rise in the order in which replies are sent."""
        return next(self._numbers)

    def add(self, answer: Answer) -> None:
        """Keep an answer."""
        self.answers.append(answer)
        self.requests[answer.endpoint] = self.requests.get(answer.endpoint, 0) + 1
        if answer.prompted and answer.chat_id is not None:
            self.prompts[answer.chat_id] = self.prompts.get(answer.chat_id, 0) + 1

    def select(self, *, endpoint: str | None = None, chat_id: str | None = None, after: int = 0) -> list[Answer]:
        """Return the answers with a number above `after`, oldest first."""
        return [
            answer
            for answer in self.answers
            if answer.number > after and endpoint in (None, answer.endpoint) and chat_id in (None, answer.chat_id)
        ]
