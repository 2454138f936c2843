"""The arguments of jobs (contract.md section 3), checked before anything is done."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from location_client import limits
from worker.domain.handle import normalize_handle

MAX_FAULTS = 20  # named in one refusal
PERSONAL = limits.PERSONAL | {"event"}


class InvalidJobError(ValueError):
    """A job's arguments are wrong; `detail` lists each: field, what is accepted, the value where it is not personal."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{entry['field']}: {entry['message']}" for entry in detail))
        self.detail = detail


def checked(form: limits.Form) -> BeforeValidator:
    """Return what refuses a value of another form."""

    def check(value: object) -> object:
        if not form.accepts(value):
            raise ValueError(f"accepted: {form.accepted}")
        return value

    return BeforeValidator(check)


def _handle(value: str) -> str:
    try:
        return normalize_handle(value)
    except ValueError:
        raise ValueError(f"accepted: {limits.HANDLE.accepted}") from None


ChatId = Annotated[str, AfterValidator(str.lower), checked(limits.CHAT_ID)]
Reference = Annotated[str, checked(limits.REFERENCE)]
Handle = Annotated[str, AfterValidator(_handle)]
Seconds = Annotated[float, checked(limits.SECONDS)]


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

    message: Annotated[str, checked(limits.MESSAGE)] | None = None
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
