"""Jobs that other services queue, and their results: the JSON of docs/reference/jobs.md ("Wire format")."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, Unpack
from uuid import uuid4

from location_client.arguments import Chat, Pin, Request, find_faults
from location_client.data import Place
from location_client.limits import JOB_ID
from location_client.results import (
    ForgetResult,
    PinResult,
    PlacesResult,
    RequestResult,
    StopResult,
    TrackResult,
    UntrackResult,
)

ResultT = TypeVar("ResultT")

FIRST_PAUSE_SECONDS = 0.02
JOB_KEY = "arq:job:"
RESULT_KEY = "arq:result:"
LIFE_MILLISECONDS = 86_400_000
"""How long a job that no worker runs stays in Redis."""


class JobFailed(Exception):  # noqa: N818  # named for what it tells the caller: the job failed
    """The job failed: `error` is the name of the failure, `detail` (JSON) says what is wrong.

    `detail` is a text or, for wrong arguments (`InvalidJobError`), a list with the `field`, the `message` and, unless
    personal, the value `given` of each.
    """

    def __init__(self, error: str, detail: Any) -> None:
        super().__init__(f"{error}: {_in_words(detail)}")
        self.error = error
        self.detail = detail


def _in_words(detail: Any) -> str:
    if isinstance(detail, list):
        return "; ".join(_in_words(part) for part in detail)
    if isinstance(detail, dict) and {"field", "message"} <= set(detail):
        return f"{detail['field']}: {detail['message']}"
    return str(detail)


class JobExists(Exception):  # noqa: N818  # see JobFailed
    """A job with this id is queued or running, or its result is still kept: an id must not be used twice."""


def _new_id() -> str:
    return str(uuid4())


@dataclass(frozen=True, slots=True)
class Job(Generic[ResultT]):
    """One job to be queued: `arguments` by their wire names, and an `id` that was never used before.

    The methods named after jobs check their arguments; a Job made directly is not checked.
    """

    function: str
    arguments: Mapping[str, Any]
    id: str = field(default_factory=_new_id)

    def __post_init__(self) -> None:
        """Refuse what would be a broken key. Raises ValueError."""
        if not JOB_ID.accepts(self.id):
            raise ValueError(f"job id {self.id!r}: expected {JOB_ID.accepted}")

    @classmethod
    def checked(cls, function: str, arguments: Mapping[str, Any], job_id: str | None = None) -> "Job[Any]":
        """Return a job with checked arguments; those that are None are left out, and `from_` becomes `from`.

        Raises ValueError, which names what is wrong and what is accepted.
        """
        given = {"from" if name == "from_" else name: value for name, value in arguments.items() if value is not None}
        faults = find_faults(function, given)
        if faults:
            raise ValueError(f"{function}: {'; '.join(map(str, faults))}")
        return cls(function, given, job_id or _new_id())

    @classmethod
    def request_location(cls, *, job_id: str | None = None, **arguments: Unpack[Request]) -> "Job[RequestResult]":
        """Ask the contact of a 1:1 chat to share, and track the share."""
        return cls.checked("request_location", arguments, job_id)

    @classmethod
    def track_location(cls, *, job_id: str | None = None, **arguments: Unpack[Chat]) -> "Job[TrackResult]":
        """Track a chat without a prompt."""
        return cls.checked("track_location", arguments, job_id)

    @classmethod
    def set_places(
        cls, chat_id: str, places: list[Place], *, until: str | None = None, job_id: str | None = None
    ) -> "Job[PlacesResult]":
        """Change the places of a tracked share."""
        return cls.checked("set_places", {"chat_id": chat_id, "places": places, "until": until}, job_id)

    @classmethod
    def untrack_location(cls, chat_id: str, *, job_id: str | None = None) -> "Job[UntrackResult]":
        """Stop tracking a chat."""
        return cls.checked("untrack_location", {"chat_id": chat_id}, job_id)

    @classmethod
    def stop_sharing(cls, chat_id: str, handle: str, *, job_id: str | None = None) -> "Job[StopResult]":
        """Ask Linq to end the contact's share."""
        return cls.checked("stop_sharing", {"chat_id": chat_id, "handle": handle}, job_id)

    @classmethod
    def send_pin(cls, *, job_id: str | None = None, **arguments: Unpack[Pin]) -> "Job[PinResult]":
        """Send a one-time pin through Chert."""
        return cls.checked("send_pin", arguments, job_id)

    @classmethod
    def forget_handle(cls, handle: str, *, job_id: str | None = None) -> "Job[ForgetResult]":
        """Erase what is kept about a handle."""
        return cls.checked("forget_handle", {"handle": handle}, job_id)

    def encode(self, enqueued_at: int) -> bytes:
        """Return the JSON of a queued job; `enqueued_at` in milliseconds since 1970 (UTC).

        Raises ValueError for a number that is not finite, TypeError for what JSON does not know.
        """
        body: dict[str, Any] = {"t": None, "f": self.function, "a": [], "k": dict(self.arguments), "et": enqueued_at}
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def decode_result(raw: bytes) -> Any:
    """Return the job's answer from the value at `arq:result:ID`. Raises JobFailed."""
    try:
        result = json.loads(raw)
        succeeded, answer = result["s"], result["r"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise JobFailed(
            "UnreadableResult",
            "the result is not this project's JSON: does another worker serve the same queue?",
        ) from None
    if succeeded is True:
        return answer
    if isinstance(answer, dict):
        raise JobFailed(str(answer.get("error", "Failure")), answer.get("detail", ""))
    raise JobFailed("Failure", answer)


@dataclass(slots=True)
class Pace:
    """When to look for a result: soon at first, then less and less often, so that waiting costs little."""

    deadline: float | None
    pause: float = FIRST_PAUSE_SECONDS
    longest: float = 1.0

    @classmethod
    def until(cls, timeout: float | None) -> "Pace":
        """Set a deadline `timeout` seconds from now; None: no deadline."""
        return cls(None if timeout is None else time.monotonic() + timeout)

    @property
    def over(self) -> bool:
        """Return whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def next_pause(self) -> float:
        """Return the seconds to sleep before the next look, never beyond the deadline."""
        pause = self.pause
        self.pause = min(pause * 1.5, self.longest)
        if self.deadline is None:
            return pause
        return max(0.0, min(pause, self.deadline - time.monotonic()))
