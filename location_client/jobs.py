"""Jobs as other services write them: arguments, results, the JSON of contract.md section 6."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar, Unpack
from uuid import uuid4

ResultT = TypeVar("ResultT")

FIRST_PAUSE_SECONDS = 0.02
JOB_KEY = "arq:job:"
RESULT_KEY = "arq:result:"
LIFE_MILLISECONDS = 86_400_000
"""How long a job that no worker takes stays in Redis (section 6)."""


class JobFailed(Exception):  # noqa: N818  # named for what the caller reads: the job failed
    """The job did not run to its end: `error` is the name of the failure, `detail` says what to do about
    it.
    """

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error = error
        self.detail = detail


class JobExists(Exception):  # noqa: N818  # see JobFailed
    """A job with this id is queued or running, or its result is still kept: ids are never used twice."""


class Chat(TypedDict, total=False):
    """Whom a share is about: `chat_id` (UUID), or `to` (the contact's handle) and `from_` (the own line).

    `reference` (1 to 128 printable characters) comes back in every event of the share. `follow=False` ends it
    with the first position. All times in seconds; the intervals bound the scheduled reads of this share.
    """

    chat_id: str
    to: str
    from_: str
    reference: str
    follow: bool
    follow_for: float
    min_interval: float
    max_interval: float


class Request(Chat, total=False):
    """What `request_location` takes beyond `track_location`.

    `message`: the text with which a missing 1:1 chat is created (with `to` and `from_` only).
    `accept_within`: seconds for which the answer is waited for.
    """

    message: str
    accept_within: float


class Pin(TypedDict, total=False):
    """A pin. Exactly one of `phone` (E.164) and `chat_id` (Chert's); degrees are WGS 84; `expires_at` RFC
    3339.
    """

    phone: str
    chat_id: str
    latitude: float
    longitude: float
    label: str
    address: str
    url: str
    fallback_mode: str
    expires_at: str
    phone_line_id: str
    idempotency_key: str
    external_id: str
    reference: str


class RequestResult(TypedDict):
    """Where `status` is "rejected": `reason` and `code` (Linq's, or None); else `prompt`. No chat: no ids."""

    status: Literal["requested", "already_sharing", "already_tracked", "rejected"]
    chat_id: NotRequired[str]
    share_id: NotRequired[str]
    prompt: NotRequired[Literal["sent", "uncertain", "waiting"]]
    reason: NotRequired[str]
    code: NotRequired[int | None]


class TrackResult(TypedDict):
    """`rejected` (with `reason` and `code`) only where `to` and `from_` have no 1:1 chat."""

    status: Literal["tracking", "already_tracked", "rejected"]
    chat_id: NotRequired[str]
    share_id: NotRequired[str]
    reason: NotRequired[str]
    code: NotRequired[int | None]


class UntrackResult(TypedDict):
    """Whether the chat was tracked."""

    status: Literal["untracked", "not_tracked"]


class StopResult(TypedDict):
    """`stopping`: Linq took the order; `location.sharing.stopped` follows when the share is really over."""

    status: Literal["stopping", "not_sharing"]


class PinResult(TypedDict):
    """`queued` with `message_id` and `phone_line_id`, or `failed` with Chert's `code` and `detail`."""

    status: Literal["queued", "failed"]
    message_id: NotRequired[str]
    phone_line_id: NotRequired[str | None]
    code: NotRequired[int | None]
    detail: NotRequired[str]


class ForgetResult(TypedDict):
    """How many tracked shares were touched, and how many stream entries erased."""

    status: Literal["forgotten"]
    shares: int
    events: int


def _new_id() -> str:
    return str(uuid4())


@dataclass(frozen=True, slots=True)
class Job(Generic[ResultT]):
    """One job to be queued; `id` is printable ASCII without spaces, never used before in this Redis."""

    function: str
    arguments: Mapping[str, Any]
    id: str = field(default_factory=_new_id)

    def __post_init__(self) -> None:
        """Refuse what would be a broken key. Raises ValueError."""
        if not self.id or not all("!" <= character <= "~" for character in self.id):
            raise ValueError(f"job id {self.id!r}: expected printable ASCII without spaces, for example a UUID")

    @staticmethod
    def request_location(*, job_id: str | None = None, **arguments: Unpack[Request]) -> "Job[RequestResult]":
        """Ask the contact of a 1:1 chat to share, and follow the share."""
        return Job("request_location", arguments, job_id or _new_id())

    @staticmethod
    def track_location(*, job_id: str | None = None, **arguments: Unpack[Chat]) -> "Job[TrackResult]":
        """Follow a chat without a prompt."""
        return Job("track_location", arguments, job_id or _new_id())

    @staticmethod
    def untrack_location(chat_id: str, *, job_id: str | None = None) -> "Job[UntrackResult]":
        """Stop following a chat."""
        return Job("untrack_location", {"chat_id": chat_id}, job_id or _new_id())

    @staticmethod
    def stop_sharing(chat_id: str, handle: str, *, job_id: str | None = None) -> "Job[StopResult]":
        """Ask Linq to end the contact's share."""
        return Job("stop_sharing", {"chat_id": chat_id, "handle": handle}, job_id or _new_id())

    @staticmethod
    def send_pin(*, job_id: str | None = None, **arguments: Unpack[Pin]) -> "Job[PinResult]":
        """Send a one-time pin through Chert."""
        return Job("send_pin", arguments, job_id or _new_id())

    @staticmethod
    def forget_handle(handle: str, *, job_id: str | None = None) -> "Job[ForgetResult]":
        """Erase what is kept about a handle."""
        return Job("forget_handle", {"handle": handle}, job_id or _new_id())

    def encode(self, enqueued_at: int) -> bytes:
        """Return the JSON of section 6; `enqueued_at` in milliseconds since 1970 (UTC). Arguments that are None are
        left out.

        Raises ValueError for a number that is not finite, TypeError for what JSON does not know.
        """
        arguments = {
            "from" if name == "from_" else name: value for name, value in self.arguments.items() if value is not None
        }
        body: dict[str, Any] = {"t": None, "f": self.function, "a": [], "k": arguments, "et": enqueued_at}
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def decode_result(raw: bytes) -> Any:
    """Return the job's answer out of what stands at `arq:result:ID`. Raises JobFailed."""
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
        raise JobFailed(str(answer.get("error", "Failure")), str(answer.get("detail", "")))
    raise JobFailed("Failure", str(answer))


@dataclass(slots=True)
class Pace:
    """When to look again: soon at first, then less and less often, so that waiting for a slow job costs
    little.
    """

    deadline: float | None
    pause: float = FIRST_PAUSE_SECONDS
    longest: float = 1.0

    @classmethod
    def until(cls, timeout: float | None) -> "Pace":
        """Return a pace that ends `timeout` seconds from now; None never ends."""
        return cls(None if timeout is None else time.monotonic() + timeout)

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def next_pause(self) -> float:
        """Seconds to sleep before the next look, never beyond the deadline."""
        pause = self.pause
        self.pause = min(pause * 1.5, self.longest)
        if self.deadline is None:
            return pause
        return max(0.0, min(pause, self.deadline - time.monotonic()))
