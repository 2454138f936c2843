"""A pin: one fixed position that Chert sends as a map card (docs/reference/chert.md, Sending a pin)."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from location_client import limits
from worker.domain.handle import normalize_handle
from worker.domain.timestamp import format_time, parse_time


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds a control character or a line break: leave those out")
    return text


def _identifier(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("only printable ASCII characters are accepted")
    return text


def _phone(text: str) -> str:
    phone = normalize_handle(text)
    if not phone.startswith("+"):
        raise ValueError("an e-mail address cannot receive a pin: give a phone number with + and its country code")
    return phone


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or " " in text:
        raise ValueError("expected an http:// or https:// address")
    return text


def _time(text: str) -> str:
    return format_time(parse_time(text))


def _no_vcard(mode: object) -> object:
    if mode == "vcard":
        raise ValueError("Chert does not support vcard for pins: use auto, balloon or geo_url")
    return mode


_Name = Annotated[str, Field(min_length=1, max_length=limits.MAX_PIN_TEXT), AfterValidator(_printable)]
_Identifier = Annotated[str, Field(min_length=1, max_length=limits.MAX_PIN_IDENTIFIER), AfterValidator(_printable)]


class Pin(BaseModel):
    """Exactly one of `phone` (loosely formatted is fine) and `chat_id` (Chert's), a point in degrees (WGS
    84), and what may go with it.

    `expires_at` is RFC 3339 with any offset; nothing expires on the recipient's device. Raises pydantic's
    ValidationError, whose text names fields and rules, never the values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    phone: Annotated[str, Field(max_length=64), AfterValidator(_phone)] | None = None
    chat_id: _Identifier | None = None
    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    label: _Name | None = None
    address: _Name | None = None
    url: (
        Annotated[str, Field(max_length=limits.MAX_PIN_URL), AfterValidator(_printable), AfterValidator(_web_address)]
        | None
    ) = None
    fallback_mode: Annotated[Literal["auto", "balloon", "geo_url"], BeforeValidator(_no_vcard)] = "auto"
    expires_at: Annotated[str, Field(max_length=64), AfterValidator(_time)] | None = None
    phone_line_id: _Identifier | None = None
    idempotency_key: Annotated[
        str, Field(min_length=1, max_length=limits.MAX_IDEMPOTENCY_KEY), AfterValidator(_identifier)
    ]
    external_id: _Identifier | None = None

    @model_validator(mode="after")
    def _one_recipient(self) -> Self:
        if (self.phone is None) == (self.chat_id is None):
            raise ValueError("give exactly one of phone and chat_id")
        return self

    def body(self) -> bytes:
        """Return the JSON that Chert gets: the same bytes for the same pin, as a repeat under one key must have."""
        return msgspec.json.encode({name: field for name, field in self if field is not None})
