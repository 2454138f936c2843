"""The arguments of jobs (docs/reference/jobs.md), checked before anything is done."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from location_client import limits
from location_client.arguments import FORMS, find_faults
from worker.domain.handle import normalize_handle
from worker.domain.share import Place

MAX_FAULTS = 20  # wrong arguments named in one refusal
PERSONAL = limits.PERSONAL | {"event"}


class InvalidJobError(ValueError):
    """A job's arguments are wrong; `detail` lists each: field, what is accepted, and the value if not personal."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{entry['field']}: {entry['message']}" for entry in detail))
        self.detail = detail


ChatId = Annotated[str, AfterValidator(str.lower)]
Handle = Annotated[str, AfterValidator(normalize_handle)]


class Arguments(BaseModel):
    """The base of all arguments: no unknown names, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class PlaceArgument(Arguments):
    """A circle on the ground that a job names."""

    name: str
    latitude: float
    longitude: float
    radius: float


class _WithPlaces(Arguments):
    places: list[PlaceArgument] = []
    until: str | None = None

    def circles(self) -> list[Place]:
        """Return the places as a share keeps them."""
        return [Place(place.name, place.latitude, place.longitude, place.radius) for place in self.places]


class _Tracking(_WithPlaces):
    chat_id: ChatId | None = None
    to: Handle | None = None
    from_: Handle | None = Field(None, alias="from")
    reference: str | None = None
    follow: bool = True
    follow_for: float | None = None
    min_interval: float | None = None
    max_interval: float | None = None
    max_age: float | None = None
    stop_when_done: bool = False


class RequestLocation(_Tracking):
    """Arguments of `request_location`."""

    message: str | None = None
    accept_within: float | None = None


class TrackLocation(_Tracking):
    """Arguments of `track_location`."""


class SetPlaces(_WithPlaces):
    """Arguments of `set_places`."""

    chat_id: ChatId
    places: list[PlaceArgument]


class UntrackLocation(Arguments):
    """Arguments of `untrack_location`."""

    chat_id: ChatId


class StopSharing(Arguments):
    """Arguments of `stop_sharing`."""

    chat_id: ChatId
    handle: Handle


class EndSharing(StopSharing):
    """Arguments of `end_sharing`, queued when a share ends."""

    share_id: str


class ForgetHandle(Arguments):
    """Arguments of `forget_handle`."""

    handle: Handle


class HearWebhook(Arguments):
    """Arguments of `hear_webhook`, which the web process queues: an event as worker/linq/webhook.py read it."""

    kind: Literal["started", "stopped"]
    event: dict[str, Any]


Model = TypeVar("Model", bound=BaseModel)


def read_arguments(function: str, model: type[Model], given: dict[str, Any]) -> Model:
    """Check the keyword arguments of a job as the client does, then what only the worker can; null counts as absent.

    Raises InvalidJobError, which names each wrong one: an unknown name also where its value is null.
    """
    names = FORMS.get(function, {})
    known = {name: value for name, value in given.items() if value is not None or name not in names}
    faults = find_faults(function, known)[:MAX_FAULTS]
    if faults:
        raise InvalidJobError(
            [{name: text for name, text in fault._asdict().items() if text is not None} for fault in faults]
        )
    try:
        return model.model_validate(known)
    except ValidationError as error:
        shown = not model.model_config.get("hide_input_in_errors", False)
        found = error.errors(include_input=shown)[:MAX_FAULTS]
        raise InvalidJobError([_explain(dict(entry)) for entry in found]) from None


def _explain(error: dict[str, Any]) -> dict[str, Any]:
    field = ".".join(str(part) for part in error["loc"])[:100] or "arguments"
    is_personal = not PERSONAL.isdisjoint(field.split("."))
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "no such argument"
    detail = {"field": field, "message": message}
    value = error.get("input")
    if not is_personal and isinstance(value, str | int | float | bool) and error["type"] != "extra_forbidden":
        detail["given"] = repr(value)[:100]
    return detail
