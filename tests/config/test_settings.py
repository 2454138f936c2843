from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from config import settings as settings_module
from config.settings import Settings, SettingsError, load_settings
from location_client.address import show_url

Dotenv = Callable[..., Path]

REDIS = "redis://localhost:6379/0"


def lines(needs: settings_module.Needs = "client") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(needs)
    return caught.value.lines


@pytest.fixture
def dotenv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dotenv:
    """Return a function that writes .env in the current directory, which is a new one for each test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings_module, "_FILE", Path(".env"))

    def write(*lines: str) -> Path:
        (tmp_path / ".env").write_text("\n".join(lines))
        return tmp_path / ".env"

    return write


@pytest.fixture(autouse=True)
def redis_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", REDIS)


def test_defaults_are_those_of_the_contract() -> None:
    settings = load_settings("client")
    assert settings.model_dump() == {
        "redis_url": REDIS,
        "linq_api_key": None,
        "linq_base_url": "https://api.linqapp.com/api/partner",
        "linq_webhook_secrets": (),
        "linq_requests_per_second": 20,
        "poll_client": "socket",
        "chert_signing_secret": None,
        "chert_tenant": None,
        "chert_base_url": "https://console.trychert.com",
        "key_prefix": "location",
        "queue_name": "location:jobs",
        "events_maxlen": 1_000_000,
        "events_retention_seconds": 86400,
        "min_poll_seconds": 60,
        "max_poll_seconds": 600,
        "accept_within_seconds": 86400,
        "follow_for_seconds": 604800,
        "follow_unrequested": False,
        "request_cooldown_seconds": 600,
        "stale_after_seconds": 1800,
        "lease_seconds": 30,
        "shutdown_grace_seconds": 20,
        "poll_log": None,
        "log_format": None,
        "log_level": "INFO",
        "metrics_port": 0,
        "host": "127.0.0.1",
        "port": 8080,
        "view_tokens": (),
        "view_origins": (),
        "map_tiles": None,
        "map_attribution": None,
    }


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("LINQ_API_V3_BASE_URL", "http://127.0.0.1:9/api/", "linq_base_url", "http://127.0.0.1:9/api"),
        ("LINQ_BASE_URL", "https://linq.example", "linq_base_url", "https://linq.example"),
        ("LINQ_WEBHOOK_SECRET", "whsec_AAEC, whsec_AwQ", "linq_webhook_secrets", ("whsec_AAEC", "whsec_AwQ")),
        ("KEY_PREFIX", "other", "queue_name", "other:jobs"),
        ("QUEUE_NAME", "mine", "queue_name", "mine"),
        ("EVENTS_MAXLEN", "0", "events_maxlen", 0),
        ("EVENTS_RETENTION_SECONDS", "0", "events_retention_seconds", 0),
        ("STALE_AFTER_SECONDS", "0", "stale_after_seconds", 0),
        ("REQUEST_COOLDOWN_SECONDS", "0", "request_cooldown_seconds", 0),
        ("MIN_POLL_SECONDS", " 0.25 ", "min_poll_seconds", 0.25),
        ("FOLLOW_UNREQUESTED", "true", "follow_unrequested", True),
        ("POLL_CLIENT", "HTTPX", "poll_client", "httpx"),
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("LOG_FORMAT", "json", "log_format", "json"),
        ("METRICS_PORT", "9100", "metrics_port", 9100),
        ("PORT", "65535", "port", 65535),
        ("HOST", "::", "host", "::"),
        ("PORT", "", "port", 8080),
        ("LINQ_WEBHOOK_SECRET", " ", "linq_webhook_secrets", ()),
        ("VIEW_TOKEN", f"{'a' * 16}, {'b' * 40}", "view_tokens", ("a" * 16, "b" * 40)),
        (
            "VIEW_ORIGINS",
            "https://App.example, http://localhost:3000/",
            "view_origins",
            ("https://app.example", "http://localhost:3000"),
        ),
        (
            "MAP_TILES",
            "https://tiles.example/{z}/{x}/{y}{r}.png?key=1",
            "map_tiles",
            "https://tiles.example/{z}/{x}/{y}{r}.png?key=1",
        ),
        ("MAP_ATTRIBUTION", "© somebody https://tiles.example", "map_attribution", "© somebody https://tiles.example"),
    ],
)
def test_a_variable_sets_its_field(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(load_settings("client"), field) == value


def test_the_environment_wins_over_the_file_and_strangers_in_it_are_ignored(
    monkeypatch: pytest.MonkeyPatch, dotenv: Dotenv
) -> None:
    dotenv("KEY_PREFIX=from-file", "PORT=9000", "HOST=", "SOMETHING_ELSE=1", "export LINQ_API_KEY='of the file'")
    monkeypatch.setenv("KEY_PREFIX", "from-environment")
    monkeypatch.setenv("LINQ_API_KEY", "of-the-environment")
    settings = load_settings("worker")
    assert (settings.key_prefix, settings.port, settings.host) == ("from-environment", 9000, "127.0.0.1")
    assert settings.linq_api_key is not None
    assert settings.linq_api_key.get_secret_value() == "of-the-environment"


def test_of_two_names_the_full_one_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINQ_API_KEY", "short")
    monkeypatch.setenv("LINQ_API_V3_API_KEY", "full")
    settings = load_settings("worker")
    assert settings.linq_api_key is not None
    assert settings.linq_api_key.get_secret_value() == "full"


@pytest.mark.parametrize(
    ("variable", "text", "accepted"),
    [
        ("LINQ_API_V3_BASE_URL", "ftp://linq.example", "an http:// or https:// URL with a host"),
        ("LINQ_BASE_URL", "https://", "an http:// or https:// URL with a host"),
        ("CHERT_BASE_URL", "https://chert.example/?a=1", "without user, query or fragment"),
        ("CHERT_BASE_URL", "https://chert.example:port/", "an http:// or https:// URL with a host"),
        ("LINQ_REQUESTS_PER_SECOND", "0", "a number above 0"),
        ("LINQ_REQUESTS_PER_SECOND", "inf", "a number above 0"),
        ("POLL_CLIENT", "curl", "socket or httpx"),
        ("CHERT_TENANT", "caf\u00e9", "printable ASCII without spaces"),
        ("KEY_PREFIX", "a b", "printable characters without spaces"),
        ("QUEUE_NAME", "a\u202eb", "printable characters without spaces"),
        ("EVENTS_MAXLEN", "-1", "a whole number, 0 (no cap) or above"),
        ("EVENTS_MAXLEN", "1.5", "a whole number, 0 (no cap) or above"),
        ("EVENTS_RETENTION_SECONDS", "-1", "a number of seconds from 0 (never)"),
        ("MIN_POLL_SECONDS", "0", "a number of seconds above 0"),
        ("MAX_POLL_SECONDS", "nan", "a number of seconds above 0"),
        ("ACCEPT_WITHIN_SECONDS", "1 day", "a number of seconds above 0"),
        ("FOLLOW_FOR_SECONDS", "1e300", "a number of seconds above 0"),
        ("FOLLOW_UNREQUESTED", "perhaps", "true or false"),
        ("REQUEST_COOLDOWN_SECONDS", "-0.1", "a number of seconds from 0"),
        ("STALE_AFTER_SECONDS", "-1", "a number of seconds from 0 (never)"),
        ("LEASE_SECONDS", "-inf", "a number of seconds above 0"),
        ("VIEW_ORIGINS", "*", "origins such as https://app.example"),
        ("VIEW_ORIGINS", "https://app.example/page", "origins such as https://app.example"),
        ("VIEW_ORIGINS", "app.example", "origins such as https://app.example"),
        ("MAP_TILES", "https://tiles.example/{z}/{x}.png", "with {z}, {x} and {y}"),
        ("MAP_TILES", "https://{s}.tiles.example/{z}/{x}/{y}.png", "with {z}, {x} and {y}"),
        ("MAP_TILES", "https://tiles.example;/{z}/{x}/{y}.png", "with {z}, {x} and {y}"),
        ("MAP_TILES", "/{z}/{x}/{y}.png", "with {z}, {x} and {y}"),
        ("MAP_ATTRIBUTION", "a\u202eb", "a line of printable text"),
        ("SHUTDOWN_GRACE_SECONDS", "0", "a number of seconds above 0"),
        ("POLL_LOG", "/no/such/directory/polls", "a file in a directory that exists"),
        ("LOG_FORMAT", "xml", "console or json"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("METRICS_PORT", "65536", "a port from 1 to 65535, or 0 (off)"),
        ("HOST", "a\nb", "an address or host name"),
        ("PORT", "0", "a port from 1 to 65535"),
    ],
)
def test_a_wrong_value_is_named_shown_and_corrected(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, accepted: str
) -> None:
    monkeypatch.setenv(variable, text)
    (line,) = lines()
    assert line.startswith(f"{variable}: given {show_url(text) if '://' in text else text!r}")
    assert accepted in line.partition("; accepted: ")[2]


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LINQ_API_V3_API_KEY", "two words-hunter2"),
        ("LINQ_API_KEY", "hunter2\u00e9"),
        ("CHERT_SIGNING_SECRET", "hunter2\x00".replace("\x00", "\x7f") + "x"),
        ("LINQ_WEBHOOK_SECRET", "whsec_AAEC,hunter2"),
        ("LINQ_WEBHOOK_SECRET", "whsec_,whsec_$hunter2"),
        ("VIEW_TOKEN", "hunter2"),
        ("VIEW_TOKEN", f"{'a' * 16},hunter2"),
        ("VIEW_TOKEN", "hunter2 and some spaces"),
    ],
)
def test_a_wrong_secret_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    monkeypatch.setenv(variable, text)
    (line,) = lines()
    assert line.startswith(f"{variable}: given •••")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://localhost:6379",
        "redis://",
        "redis://:6379",
        "redis:hunter2@localhost",
        "redis://:hunter2",
        "redis://user:hunter2@localhost:port",
        "redis://:hunt#hunter2@localhost:6379/0",
        "redis://:hunt/hunter2@localhost:6379/0",
        "redis://:hunt?hunter2@localhost:6379/0",
        "redis://:hunt[hunter2@localhost:6379/0",
        "redis://:hunter2@localhost:0",
        "redis://:hunter2@localhost/zero",
        "redis://:hunter2@localhost?db=x",
        "redis://:hunter2@localhost?db=-1",
        "redis://:hunter2@localhost?socket_timeout=0",
        "redis://localhost?max_connections=0",
        "redis://localhost?passwort=hunter2",
        "redis://localhost?retry=hunter2",
        "redis://localhost?timeout=5",
        "redis://localhost?ssl_cert_reqs=none",
        "unix:///socket?socket_keepalive=yes",
        "rediss://localhost?ssl_cert_reqs=hunter2",
        "unix://",
        "unix:///socket?pass=hunter2",
        "redis+sentinel://:hunter2@one:26379,two:26379/0",
        "redis+sentinel://:hunter2@one:26379,two:x/0?master=main",
        "redis+sentinel://:hunter2@one:26379,,two:26379/0?master=main",
        "redis+sentinel://:hunter2@one:26379/x?master=main",
    ],
)
def test_a_wrong_redis_url_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    (line,) = lines()
    assert line.startswith("REDIS_URL: given '")
    assert "redis+sentinel://" in line.partition("; accepted: ")[2]
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://user:pass%2Fword@[::1]:6380/3?socket_timeout=2&health_check_interval=5",
        "rediss://:secret@redis.example/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ssl/redis.pem",
        "unix:///run/redis/redis.sock?db=1&password=x",
        "redis+sentinel://one:26379,two/0?master=main",
        "redis+sentinel://user:secret@one:26379,[::1]:26380/2?master=main&socket_timeout=1",
    ],
)
def test_every_form_of_redis_url_is_accepted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert load_settings("client").redis_url == url


def test_the_bounds_of_the_interval_must_not_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIN_POLL_SECONDS", "700")
    (line,) = lines()
    assert line.startswith("MIN_POLL_SECONDS: given '700' (MIN_POLL_SECONDS is 700, MAX_POLL_SECONDS is 600)")
    monkeypatch.setenv("MAX_POLL_SECONDS", "699")
    (line,) = lines()
    assert line.startswith("MAX_POLL_SECONDS: given '699' (MIN_POLL_SECONDS is 700, MAX_POLL_SECONDS is 699)")


def test_there_is_one_line_for_each_wrong_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("KEY_PREFIX", "a b")
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("LINQ_WEBHOOK_SECRET", "one,two")
    names = [line.partition(":")[0] for line in lines("worker")]
    assert sorted(names) == ["KEY_PREFIX", "LINQ_API_V3_API_KEY", "LINQ_WEBHOOK_SECRET", "PORT", "REDIS_URL"]


def test_a_long_value_is_cut_and_its_control_characters_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "\x1b[31m\n" + "x" * 100_000)
    (line,) = lines()
    assert len(line) < 300
    assert line.isprintable()


@pytest.mark.parametrize("needs", ["worker", "web", "client"])
def test_without_redis_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch, needs: settings_module.Needs) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("LINQ_API_KEY", "key")
    (line,) = lines(needs)
    assert line.startswith("REDIS_URL: not set; set it to your Redis server, such as redis://localhost:6379/0")


def test_the_demo_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    assert load_settings("demo").redis_url is None


@pytest.mark.parametrize("variable", ["LINQ_API_V3_API_KEY", "LINQ_API_KEY", "CHERT_SIGNING_SECRET"])
def test_the_worker_needs_a_key_of_one_api(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    (line,) = lines("worker")
    assert line.startswith("LINQ_API_V3_API_KEY: not set, and neither is CHERT_SIGNING_SECRET")
    monkeypatch.setenv(variable, "key")
    load_settings("worker")


def test_a_file_that_cannot_be_read_is_an_error_of_its_own(dotenv: Dotenv) -> None:
    dotenv().write_bytes(b"KEY_PREFIX=\xff\xfe")
    (line,) = lines()
    assert line == ".env: cannot be read (not UTF-8); accepted: a readable text file, or none"


def test_no_secret_shows_in_the_settings_or_their_errors() -> None:
    shown = repr(
        Settings(
            redis_url="redis://:hunter2@h",
            linq_api_key="hunter2",
            chert_signing_secret="hunter2",
            linq_webhook_secrets=("whsec_hunter2",),
        )
    )
    assert "hunter2" not in shown
    with pytest.raises(ValidationError) as caught:
        Settings(linq_webhook_secrets=("hunter2",))
    assert "hunter2" not in str(caught.value)


def test_every_secret_is_listed_for_masking() -> None:
    settings = Settings(
        redis_url="redis+sentinel://:p%2Fw@h:1/0?master=m",
        linq_api_key="linq-key",
        chert_signing_secret="chert-secret",
        linq_webhook_secrets=("whsec_AAEC",),
        view_tokens=("a" * 16,),
    )
    assert set(settings.secrets()) == {"p/w", "p%2Fw", "linq-key", "chert-secret", "whsec_AAEC", "AAEC", "a" * 16}


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc] # which is what is tested


@pytest.mark.parametrize("value", ["CERT_NONE", "0", "None"])
def test_a_wrong_check_of_certificates_names_the_ones_there_are(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REDIS_URL", f"rediss://:hunter2@redis.example/0?ssl_cert_reqs={value}")
    (line,) = lines()
    assert "ssl_cert_reqs is not one of none, optional, required" in line
    assert "hunter2" not in line
