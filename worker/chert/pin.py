"""A pin: one fixed position that Chert sends as a map card (docs/reference/chert.md, Sending a pin)."""

from typing import Annotated, Any, Self

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from location_client import limits
from worker.domain.handle import normalize_handle
from worker.domain.timestamp import format_time, parse_time


def _phone(text: str) -> str:
    phone = normalize_handle(text)
    if not phone.startswith("+"):
        raise ValueError("an e-mail address cannot receive a pin: give a phone number with + and its country code")
    return phone


def _time(text: str) -> str:
    return format_time(parse_time(text))


def _of(form: limits.Form) -> AfterValidator:
    def check(value: object) -> object:
        if not form.accepts(value):
            raise ValueError(f"accepted: {form.accepted}")
        return value

    return AfterValidator(check)


def _described(**schema: Any) -> Any:
    # The forms are functions: docs/asyncapi.yaml has their bounds from here.
    return Field(json_schema_extra=schema)


_Text = Annotated[str, _of(limits.PIN_TEXT), _described(minLength=1, maxLength=limits.MAX_PIN_TEXT)]
_Identifier = Annotated[str, _of(limits.PIN_IDENTIFIER), _described(minLength=1, maxLength=limits.MAX_PIN_IDENTIFIER)]


class Pin(BaseModel):
    """Exactly one of `phone` (any usual format) and `chat_id` (Chert's), a point in degrees (WGS 84), and options.

    `expires_at` is RFC 3339 with any offset; nothing expires on the recipient's device. Raises pydantic's
    ValidationError, whose text names fields and rules, never the values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    phone: Annotated[str, AfterValidator(_phone)] | None = None
    chat_id: _Identifier | None = None
    latitude: Annotated[float, _of(limits.LATITUDE), _described(minimum=-90, maximum=90)]
    longitude: Annotated[float, _of(limits.LONGITUDE), _described(minimum=-180, maximum=180)]
    label: _Text | None = None
    address: _Text | None = None
    url: Annotated[str, _of(limits.PIN_URL), _described(maxLength=limits.MAX_PIN_URL)] | None = None
    fallback_mode: Annotated[str, _of(limits.FALLBACK_MODE), _described(enum=list(limits.FALLBACK_MODES))] = "auto"
    expires_at: Annotated[str, AfterValidator(_time)] | None = None
    phone_line_id: _Identifier | None = None
    idempotency_key: Annotated[
        str, _of(limits.IDEMPOTENCY_KEY), _described(minLength=1, maxLength=limits.MAX_IDEMPOTENCY_KEY)
    ]
    external_id: _Identifier | None = None

    @model_validator(mode="after")
    def _one_recipient(self) -> Self:
        if (self.phone is None) == (self.chat_id is None):
            raise ValueError("give exactly one of phone and chat_id")
        return self

    def body(self) -> bytes:
        """Return the JSON for Chert: the same bytes for the same pin, as repeats under one key require."""
        return msgspec.json.encode({name: field for name, field in self if field is not None})
