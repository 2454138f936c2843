"""The results of jobs: plain JSON, one shape for each `status`."""

from typing import Literal, NotRequired, TypedDict

from location_client.data import RejectionReason


class RequestedResult(TypedDict):
    """The request was accepted or was not needed; `prompt` says how far it has come.

    `uncertain`: the connection broke, and a read will settle it. `waiting`: to be sent as soon as possible.
    """

    status: Literal["requested", "already_sharing", "already_tracked"]
    chat_id: str
    share_id: str
    prompt: Literal["sent", "uncertain", "waiting"]


class RejectedResult(TypedDict):
    """Linq refused; `code` is Linq's. Without a chat there is no share either."""

    status: Literal["rejected"]
    reason: RejectionReason
    code: int | None
    chat_id: NotRequired[str]
    share_id: NotRequired[str]


class TrackedResult(TypedDict):
    """The chat is tracked."""

    status: Literal["tracking", "already_tracked"]
    chat_id: str
    share_id: str


class PlacesResult(TypedDict):
    """Whether the chat is tracked and has these places now."""

    status: Literal["set", "not_tracked"]


class UntrackResult(TypedDict):
    """Whether the chat was tracked."""

    status: Literal["untracked", "not_tracked"]


class StopResult(TypedDict):
    """`stopping`: Linq accepted the request; `location.sharing.stopped` follows when the share is really over."""

    status: Literal["stopping", "not_sharing"]


class PinQueuedResult(TypedDict):
    """Chert accepted the pin."""

    status: Literal["queued"]
    message_id: str
    phone_line_id: str | None


class PinFailedResult(TypedDict):
    """Chert refused the pin for good; `code` is its last one."""

    status: Literal["failed"]
    code: int | None
    detail: str


class ForgetResult(TypedDict):
    """How many tracked shares were changed, and how many stream entries erased."""

    status: Literal["forgotten"]
    shares: int
    events: int


RequestResult = RequestedResult | RejectedResult
TrackResult = TrackedResult | RejectedResult
PinResult = PinQueuedResult | PinFailedResult
