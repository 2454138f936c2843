"""The arguments of jobs (contract.md section 3), checked before anything is done."""

import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from worker.domain.handle import normalize_handle

MAX_FAULTS = 20  # named in one refusal
MAX_SECONDS = 10 * 366 * 86_400.0  # ten years: more is a mistake, and would not fit a date any more
PERSONAL = frozenset(
    {"event", "to", "from", "handle", "phone", "message", "latitude", "longitude", "address", "label", "url"}
)


class InvalidJobError(ValueError):
    """A job's arguments are wrong; `detail` lists each: field, what is accepted, the value where it is not personal."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{entry['field']}: {entry['message']}" for entry in detail))
        self.detail = detail


_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_CHAT_ID_ACCEPTED = "a UUID such as 3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13 is accepted"


def _chat_id(value: object) -> str:
    # uuid.UUID would take misplaced hyphens and digits of every script.
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError(_CHAT_ID_ACCEPTED)
    return value.lower()


def _reference(value: str) -> str:
    if not 1 <= len(value) <= 128 or not value.isprintable():
        raise ValueError("1 to 128 printable characters are accepted")
    return value


def _handle(value: str) -> str:
    try:
        return normalize_handle(value)
    except ValueError:
        raise ValueError("a phone number in E.164 form with + or an e-mail address is accepted") from None


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number of seconds is accepted")  # noqa: TRY004 (as above)
    if not 0 < value <= MAX_SECONDS:  # not a number is neither
        raise ValueError(f"a number of seconds above 0, at most {MAX_SECONDS:.0f}, is accepted")
    return float(value)


ChatId = Annotated[str, BeforeValidator(_chat_id)]
Reference = Annotated[str, AfterValidator(_reference)]
Handle = Annotated[str, AfterValidator(_handle)]
Seconds = Annotated[float, BeforeValidator(_seconds)]


class Arguments(BaseModel):
    """What all arguments have in common: no unknown names, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class _Tracking(Arguments):
    chat_id: ChatId | None = None
    to: Handle | None = None
    from_: Handle | None = Field(None, alias="from")
    reference: Reference | None = None
    follow: bool = True
    follow_for: Seconds | None = None
    min_interval: Seconds | None = None
    max_interval: Seconds | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        by_handles = self.to is not None and self.from_ is not None
        if (self.chat_id is None) != by_handles or (not by_handles and (self.to or self.from_)):
            raise ValueError("either chat_id or both to and from are accepted")
        if self.min_interval is not None and self.max_interval is not None and self.min_interval > self.max_interval:
            raise ValueError("min_interval has to be at most max_interval")
        return self


class RequestLocation(_Tracking):
    """Arguments of `request_location`."""

    message: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    accept_within: Seconds | None = None

    @model_validator(mode="after")
    def _message_needs_handles(self) -> Self:
        if self.message is not None and self.chat_id is not None:
            raise ValueError("message goes with to and from only")
        return self


class TrackLocation(_Tracking):
    """Arguments of `track_location`."""


class UntrackLocation(Arguments):
    """Arguments of `untrack_location`."""

    chat_id: ChatId


class StopSharing(Arguments):
    """Arguments of `stop_sharing`."""

    chat_id: ChatId
    handle: Handle


class ForgetHandle(Arguments):
    """Arguments of `forget_handle`."""

    handle: Handle


class HearWebhook(Arguments):
    """Arguments of `hear_webhook`, which the web process queues: an event as worker/linq/webhook.py read it."""

    kind: Literal["started", "stopped"]
    event: dict[str, Any]


Model = TypeVar("Model", bound=BaseModel)


def read_arguments(model: type[Model], given: dict[str, Any]) -> Model:
    """Check the keyword arguments of a job; raises InvalidJobError that names each wrong one."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        shown = not model.model_config.get("hide_input_in_errors", False)
        faults = error.errors(include_input=shown)[:MAX_FAULTS]
        raise InvalidJobError([_explain(dict(entry)) for entry in faults]) from None


def _explain(error: dict[str, Any]) -> dict[str, Any]:
    field = ".".join(str(part) for part in error["loc"])[:100] or "arguments"
    name = field.split(".")[0]
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "no such argument"
    detail = {"field": field, "message": message}
    value = error.get("input")
    if name not in PERSONAL and isinstance(value, str | int | float | bool) and error["type"] != "extra_forbidden":
        detail["given"] = repr(value)[:100]
    return detail
