"""The arguments of jobs, and the checks that are possible before a job is queued."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Required, TypedDict

from location_client import limits
from location_client.data import Place
from location_client.limits import Form


class Chat(TypedDict, total=False):
    """Whom a share is about: `chat_id` (UUID), or `to` (the contact's handle) and `from_` (the own line).

    `reference` (1 to 128 printable characters) is in every event of the share. All times are in seconds; the intervals
    bound the scheduled reads of this share. `follow=False` ends it with the first position, or with `max_age`, with the
    first that was at most that old when it was read. `stop_when_done`: ask Linq to end the contact's share once this
    one has served its purpose. `places` (at most 16): publish when a contact enters or leaves them; `until` names the
    one whose entering ends the share.
    """

    chat_id: str
    to: str
    from_: str
    reference: str
    follow: bool
    follow_for: float
    min_interval: float
    max_interval: float
    max_age: float
    stop_when_done: bool
    places: list[Place]
    until: str


class Request(Chat, total=False):
    """The arguments that `request_location` has and `track_location` has not.

    `message`: the first message of a 1:1 chat that does not exist yet (only with `to` and `from_`). `accept_within`:
    seconds to wait for the contact's answer.
    """

    message: str
    accept_within: float


class Pin(TypedDict, total=False):
    """A pin. Exactly one of `phone` (E.164) and `chat_id` (Chert's); degrees are WGS 84; `expires_at` RFC 3339.

    `idempotency_key` (at most 200 bytes) is by default the job's id.
    """

    phone: str
    chat_id: str
    latitude: Required[float]
    longitude: Required[float]
    label: str
    address: str
    url: str
    fallback_mode: str
    expires_at: str
    phone_line_id: str
    idempotency_key: str
    external_id: str
    reference: str


_PLACE = {
    "name": limits.PLACE_NAME,
    "latitude": limits.LATITUDE,
    "longitude": limits.LONGITUDE,
    "radius": limits.RADIUS,
}
_PLACES = Form(
    f"at most {limits.MAX_PLACES} places, each with {', '.join(_PLACE)}",
    lambda value: isinstance(value, list) and len(value) <= limits.MAX_PLACES,
)
_TRACK = {
    "chat_id": limits.CHAT_ID,
    "to": limits.HANDLE,
    "from": limits.HANDLE,
    "reference": limits.REFERENCE,
    "follow": limits.FLAG,
    "follow_for": limits.SECONDS,
    "min_interval": limits.SECONDS,
    "max_interval": limits.SECONDS,
    "max_age": limits.SECONDS,
    "stop_when_done": limits.FLAG,
    "places": _PLACES,
    "until": limits.PLACE_NAME,
}
FORMS: dict[str, dict[str, Form]] = {
    "request_location": _TRACK | {"message": limits.MESSAGE, "accept_within": limits.SECONDS},
    "track_location": _TRACK,
    "set_places": {"chat_id": limits.CHAT_ID, "places": _PLACES, "until": limits.PLACE_NAME},
    "untrack_location": {"chat_id": limits.CHAT_ID},
    "stop_sharing": {"chat_id": limits.CHAT_ID, "handle": limits.HANDLE},
    "forget_handle": {"handle": limits.HANDLE},
    "send_pin": {
        "phone": limits.PHONE,
        "chat_id": limits.PIN_IDENTIFIER,
        "latitude": limits.LATITUDE,
        "longitude": limits.LONGITUDE,
        "label": limits.PIN_TEXT,
        "address": limits.PIN_TEXT,
        "url": limits.PIN_URL,
        "fallback_mode": limits.FALLBACK_MODE,
        "expires_at": limits.PIN_TIME,
        "phone_line_id": limits.PIN_IDENTIFIER,
        "idempotency_key": limits.IDEMPOTENCY_KEY,
        "external_id": limits.PIN_IDENTIFIER,
        "reference": limits.REFERENCE,
    },
}
_REQUIRED = {
    "set_places": ("chat_id", "places"),
    "untrack_location": ("chat_id",),
    "stop_sharing": ("chat_id", "handle"),
    "forget_handle": ("handle",),
    "send_pin": ("latitude", "longitude"),
}


class Fault(NamedTuple):
    """What is wrong with an argument: its name, and what is accepted instead."""

    field: str
    message: str
    given: str | None = None
    """The value, unless it says who or where somebody is."""

    def __str__(self) -> str:
        given = "" if self.given is None else f" given {self.given};"
        return f"{self.field}:{given} {self.message}"


def find_faults(function: str, arguments: Mapping[str, Any]) -> list[Fault]:
    """Return what every worker would refuse in a job's arguments, which have their wire names.

    Arguments of a function that this version does not know are left to the worker.
    """
    return [*_faults(function, arguments)] if function in FORMS else []


def _faults(function: str, arguments: Mapping[str, Any]) -> Iterator[Fault]:
    forms = FORMS[function]
    for name in _REQUIRED.get(function, ()):
        if name not in arguments:
            yield Fault(name, f"missing; accepted: {forms[name].accepted}")
    for name, value in arguments.items():
        if name not in forms:
            yield Fault(name[:100], f"no such argument; there are {', '.join(forms)}")
        elif not forms[name].accepts(value):
            fault = _fault(name, value, forms[name])
            # Chert's chat ids contain the phone number.
            yield fault._replace(given=None) if function == "send_pin" else fault
        elif name == "places":
            yield from _faults_of_places(value)
    if function in {"request_location", "track_location"}:
        yield from _faults_of_chat(arguments)
    if "until" in arguments and arguments["until"] not in _names(arguments.get("places")):
        yield Fault("until", "it names none of the places")
    if function == "send_pin" and ("phone" in arguments) == ("chat_id" in arguments):
        yield Fault("arguments", "a pin has one recipient: give phone or chat_id")


def _faults_of_chat(arguments: Mapping[str, Any]) -> Iterator[Fault]:
    by_handles = "to" in arguments and "from" in arguments
    if ("chat_id" in arguments) == by_handles or (("to" in arguments) != ("from" in arguments)):
        yield Fault("arguments", "give chat_id, or both to and from")
    if "message" in arguments and "to" not in arguments:
        yield Fault("message", "it creates the chat of to and from; leave it out if there is a chat_id")
    shortest, longest = arguments.get("min_interval"), arguments.get("max_interval")
    if limits.is_number(shortest) and limits.is_number(longest) and shortest > longest:
        yield Fault("min_interval", f"{shortest:g} is above max_interval {longest:g}")
    if "max_age" in arguments and arguments.get("follow") is not False:
        yield Fault("max_age", "it only goes with follow=false")


def _faults_of_places(places: list[object]) -> Iterator[Fault]:
    for number, place in enumerate(places):
        field = f"places.{number}"
        if not isinstance(place, Mapping):
            yield Fault(field, f"accepted: an object with {', '.join(_PLACE)}")
            continue
        for name, form in _PLACE.items():
            if name not in place:
                yield Fault(f"{field}.{name}", f"missing; accepted: {form.accepted}")
            elif not form.accepts(place[name]):
                yield _fault(f"{field}.{name}", place[name], form)
        for name in place.keys() - _PLACE.keys():
            yield Fault(f"{field}.{name}"[:100], f"no such field; there are {', '.join(_PLACE)}")
    names = _names(places)
    if len(set(names)) < len(names):
        yield Fault("places", "two have the same name")


def _names(places: object) -> list[str]:
    named = [place.get("name") for place in places if isinstance(place, Mapping)] if isinstance(places, list) else []
    return [name for name in named if isinstance(name, str) and limits.PLACE_NAME.accepts(name)]


def _fault(name: str, value: object, form: Form) -> Fault:
    # A text in place of the list may hold the places, too.
    is_shown = isinstance(value, str | int | float) and name != "places" and not limits.PERSONAL & set(name.split("."))
    return Fault(name, f"accepted: {form.accepted}", repr(value)[:100] if is_shown else None)
