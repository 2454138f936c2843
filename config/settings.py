"""Every setting of the project: read from the environment and `.env`, validated, and explained if wrong."""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from location_client import address, limits

Needs = Literal["worker", "web", "client", "demo"]

_NAMES = {
    "linq_api_key": ("LINQ_API_V3_API_KEY", "LINQ_API_KEY"),
    "linq_base_url": ("LINQ_API_V3_BASE_URL", "LINQ_BASE_URL"),
    "linq_webhook_secrets": ("LINQ_WEBHOOK_SECRET",),
    "view_tokens": ("VIEW_TOKEN",),
}
_SECRETS = {"linq_api_key", "linq_webhook_secrets", "chert_signing_secret", "view_tokens"}
# The query of MAP_TILES may contain a tile server's key.
_URLS = {"redis_url", "linq_base_url", "chert_base_url", "map_tiles"}
_FILE = Path(".env")
_MAX_SHOWN_LENGTH = 80
MIN_VIEW_TOKEN_LENGTH = 16
_MAX_RATE = 1_000_000


class SettingsError(Exception):
    """Settings are wrong or missing; `lines` has one line per variable, without any secret."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class _Given(NamedTuple):
    name: str
    text: str


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _printable(value: str) -> str:
    if not value or not value.isprintable() or " " in value:
        raise ValueError("empty, or with a space or control character in it")
    return value


def _header(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("with a space, a control character or one outside ASCII in it")
    return value


def _secret_header(value: SecretStr) -> SecretStr:
    _header(value.get_secret_value())
    return value


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(_header(value))
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("not such a URL")
    return value.rstrip("/")


def _redis_url(value: str) -> str:
    address.parse_address(value)
    return value


def _parts(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _webhook_secret(value: str) -> str:
    # Unpadded base64 is fine: standardwebhooks pads it, too.
    encoded = value.removeprefix("whsec_").rstrip("=")
    try:
        valid = encoded and base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        valid = b""
    if not valid or not value.startswith("whsec_"):
        raise ValueError("not such a secret")
    return value


def _view_token(value: str) -> str:
    if len(_header(value)) < MIN_VIEW_TOKEN_LENGTH:
        raise ValueError("too short")
    return value


def _origin(value: str) -> str:
    if urlsplit(_base_url(value)).path or "@" in value:
        raise ValueError("a path is in it")
    return value.lower().rstrip("/")


def _tiles(value: str) -> str:
    fields = re.findall(r"\{[^{}]*\}", value)
    if not {"{x}", "{y}", "{z}"} <= set(fields) <= {"{x}", "{y}", "{z}", "{r}"}:
        raise ValueError("{x}, {y} or {z} is missing, or another field is in it")
    try:
        parts = urlsplit(_header(value))
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    # The host goes into the page's content security policy, so it must not contain that syntax.
    if not valid or not re.fullmatch(r"[\w.:\[\]-]+", parts.netloc, re.ASCII):
        raise ValueError("not such a URL")
    return value


def _credit(value: str) -> str:
    if not value.isprintable():
        raise ValueError("a control character is in it")
    return value


def _log_file(value: Path) -> Path:
    if value.is_dir() or not value.parent.is_dir():
        raise ValueError("it is a directory, or its directory does not exist")
    return value


_Rate = Annotated[float, Field(gt=0, le=_MAX_RATE, allow_inf_nan=False)]
_Seconds = Annotated[float, Field(gt=0, le=limits.MAX_SECONDS, allow_inf_nan=False)]
_SecondsOrZero = Annotated[float, Field(ge=0, le=limits.MAX_SECONDS, allow_inf_nan=False)]
_Text = Annotated[str, AfterValidator(_printable)]
_BaseUrl = Annotated[str, AfterValidator(_base_url)]
_HeaderSecret = Annotated[SecretStr, AfterValidator(_secret_header)]

_SECONDS = limits.SECONDS.accepted
_SECONDS_OR_ZERO = f"a number of seconds from 0 (never) to {limits.MAX_SECONDS}"
_BASE_URL = "an http:// or https:// URL with a host, without user, query or fragment"
_KEY = "the key as the vendor shows it: printable ASCII without spaces"
_NAME = "printable characters without spaces"


class Settings(BaseSettings):
    """The settings of docs/reference/settings.md, validated; the description of each field says what it accepts.

    Attributes have the lower-case names of the variables, except `linq_api_key`, `linq_base_url`,
    `linq_webhook_secrets` and `view_tokens`. `load_settings` reads them once; tests and the demo pass fields by name.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    redis_url: Annotated[str, AfterValidator(_redis_url)] | None = Field(None, repr=False, description=address.ACCEPTED)
    linq_api_key: _HeaderSecret | None = Field(None, description=_KEY)
    linq_base_url: _BaseUrl = Field("https://api.linqapp.com/api/partner", description=_BASE_URL)
    linq_webhook_secrets: Annotated[
        tuple[Annotated[str, AfterValidator(_webhook_secret)], ...], BeforeValidator(_parts)
    ] = Field((), repr=False, description="whsec_ and base64, as Linq showed it; several separated by commas")
    linq_requests_per_second: _Rate = Field(20, description=f"a number above 0, at most {_MAX_RATE}")
    poll_client: Annotated[Literal["socket", "httpx"], BeforeValidator(_lower)] = Field(
        "socket", description="socket or httpx"
    )
    chert_signing_secret: _HeaderSecret | None = Field(None, description=_KEY)
    chert_tenant: Annotated[str, AfterValidator(_header)] | None = Field(
        None, description="printable ASCII without spaces"
    )
    chert_base_url: _BaseUrl = Field("https://console.trychert.com", description=_BASE_URL)
    key_prefix: _Text = Field("location", description=_NAME)
    queue_name: _Text = Field(
        default_factory=lambda fields: f"{fields.get('key_prefix', 'location')}:jobs", description=_NAME
    )
    events_maxlen: int = Field(1_000_000, ge=0, le=10**15, description="a whole number, 0 (no cap) or above")
    events_retention_seconds: _SecondsOrZero = Field(86400, description=_SECONDS_OR_ZERO)
    min_poll_seconds: _Seconds = Field(60, description=_SECONDS)
    max_poll_seconds: _Seconds = Field(600, description=_SECONDS + ", MAX_POLL_SECONDS not below MIN_POLL_SECONDS")
    accept_within_seconds: _Seconds = Field(86400, description=_SECONDS)
    follow_for_seconds: _Seconds = Field(604800, description=_SECONDS)
    follow_unrequested: bool = Field(default=False, description="true or false")
    request_cooldown_seconds: _SecondsOrZero = Field(
        600, description=f"a number of seconds from 0 to {limits.MAX_SECONDS}"
    )
    stale_after_seconds: _SecondsOrZero = Field(1800, description=_SECONDS_OR_ZERO)
    lease_seconds: _Seconds = Field(30, description=_SECONDS)
    shutdown_grace_seconds: _Seconds = Field(20, description=_SECONDS)
    poll_log: Annotated[Path, AfterValidator(_log_file)] | None = Field(
        None, description="a file in a directory that exists"
    )
    log_format: Annotated[Literal["console", "json"], BeforeValidator(_lower)] | None = Field(
        None, description="console or json"
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)] = Field(
        "INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="a port from 1 to 65535, or 0 (off)")
    host: _Text = Field("127.0.0.1", description="an address or host name to listen on")
    port: int = Field(8080, ge=1, le=65535, description="a port from 1 to 65535")
    view_tokens: Annotated[tuple[Annotated[str, AfterValidator(_view_token)], ...], BeforeValidator(_parts)] = Field(
        (),
        repr=False,
        description=f"at least {MIN_VIEW_TOKEN_LENGTH} printable ASCII characters without spaces; "
        "several separated by commas",
    )
    view_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_parts)] = Field(
        (), description="origins such as https://app.example, separated by commas"
    )
    map_tiles: Annotated[str, AfterValidator(_tiles)] | None = Field(
        None,
        repr=False,
        description="an http:// or https:// URL with {z}, {x} and {y}, and {r} where there are tiles for sharp screens",
    )
    map_attribution: Annotated[str, AfterValidator(_credit)] | None = Field(
        None, description="a line of printable text; a URL in it becomes a link"
    )

    @field_validator("max_poll_seconds")
    @classmethod
    def _not_below_minimum(cls, value: float, info: ValidationInfo) -> float:
        minimum = info.data.get("min_poll_seconds", 0)
        if value < minimum:
            raise ValueError(f"MIN_POLL_SECONDS is {minimum:g}, MAX_POLL_SECONDS is {value:g}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use arguments, then our own source: pydantic-settings' sources do not tell which alias a value came from."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, _Variables(settings_cls)

    def secrets(self) -> tuple[str, ...]:
        """Return every configured secret in clear text, in each form in which it may appear; longest first."""
        found = {secret.get_secret_value() for secret in (self.linq_api_key, self.chert_signing_secret) if secret}
        for secret in self.linq_webhook_secrets:
            found |= {secret, secret.removeprefix("whsec_")}
        found |= set(self.view_tokens)
        if self.redis_url:
            password = address.parse_address(self.redis_url).options.get("password", "")
            found |= {password, quote(password, safe="")}
        return tuple(sorted(found - {""}, key=lambda text: (-len(text), text)))


class _Variables(PydanticBaseSettingsSource):
    """Values by field name, from the environment and then from `.env`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (base class)
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return {field: given.text for field, given in _read_variables().items()}


def load_settings(needs: Needs) -> Settings:
    """Read the settings, and check that those that this process needs are set.

    Raises SettingsError with one line per wrong or missing variable.
    """
    try:
        given = _read_variables()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError([f".env: cannot be read ({reason}); accepted: a readable text file, or none"]) from None
    lines = []
    try:
        settings = Settings()
    except ValidationError as error:
        # Several webhook secrets can be wrong: still one line. QUEUE_NAME's default needs the fields before it.
        wrong = {
            str(problem["loc"][0]): problem["msg"]
            for problem in error.errors()
            if problem["type"] != "default_factory_not_called"
        }
        lines = [_explain(field, message, given) for field, message in wrong.items()]
    lines += _missing(needs, given)
    if lines:
        raise SettingsError(lines)
    return settings


def names_of(field: str) -> tuple[str, ...]:
    """Return the names of the variables that set a field, in order of precedence."""
    return _NAMES.get(field, (field.upper(),))


def _read_variables() -> dict[str, _Given]:
    """Return the values that are set, by field name; an empty or blank text counts as unset."""
    sources: list[Mapping[str, str | None]] = [os.environ, dotenv_values(_FILE) if _FILE.exists() else {}]
    found = {}
    for field in Settings.model_fields:
        values = [_Given(name, (source.get(name) or "").strip()) for source in sources for name in names_of(field)]
        given = next((value for value in values if value.text), None)
        if given:
            found[field] = given
    return found


def _explain(field: str, message: str, given: dict[str, _Given]) -> str:
    if field == "max_poll_seconds" and field not in given:
        field = "min_poll_seconds"
    name, text = given[field]
    if field in _SECRETS:
        shown = "•••"
    else:
        text = address.show_url(text) if field in _URLS else text
        shown = repr(text if len(text) <= _MAX_SHOWN_LENGTH else text[:_MAX_SHOWN_LENGTH] + "…")
    # The messages of our own checks add to the description; pydantic's would repeat it.
    own = message.removeprefix("Value error, ")
    reason = f" ({own})" if own != message else ""
    return f"{name}: given {shown}{reason}; accepted: {Settings.model_fields[field].description}"


def _missing(needs: Needs, given: dict[str, _Given]) -> list[str]:
    lines = []
    if needs != "demo" and "redis_url" not in given:
        lines.append(
            "REDIS_URL: not set; set it to your Redis server, such as redis://localhost:6379/0 "
            "(`location-worker demo` needs none)"
        )
    if needs == "worker" and not {"linq_api_key", "chert_signing_secret"} & set(given):
        lines.append(
            "LINQ_API_V3_API_KEY: not set, and neither is CHERT_SIGNING_SECRET; set at least one: "
            "the key of the API that the worker is to use"
        )
    return lines
