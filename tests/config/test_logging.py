import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from config.logging import configure_logging, mask_handle, mask_text
from config.settings import Settings

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def loggers_remember_nothing() -> None:
    """Switch off the fixture of this name: these tests check what loggers remember, and use loggers of their own."""


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(text: str, cause: Exception | None = None) -> None:
    raise ValueError(text) from cause


def settings(**fields: Any) -> Settings:
    return Settings(log_format="json", **fields)


def test_a_line_is_json_with_time_level_and_event_first(stream: io.StringIO, lines: Lines) -> None:
    configure_logging(settings(), stream=stream)
    structlog.get_logger().info("share begun", share_id="s")
    (line,) = lines()
    assert list(line) == ["timestamp", "level", "event", "share_id"]
    assert (line["level"], line["event"]) == ("info", "share begun")
    assert line["timestamp"].endswith("Z")


def test_a_file_gets_json_and_a_terminal_gets_text(stream: io.StringIO) -> None:
    configure_logging(Settings(), stream=stream)
    structlog.get_logger().info("to a file")
    assert json.loads(stream.getvalue())
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign] # a terminal
    configure_logging(Settings(), stream=terminal)
    structlog.get_logger().info("to a terminal", mail="bob@example.org")
    assert terminal.getvalue().startswith("\x1b[")
    assert "b•••@example.org\x1b[0m" in terminal.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_and_handles_are_masked_wherever_they_turn_up(stream: io.StringIO, form: Any) -> None:
    configure_logging(
        Settings(
            log_format=form,
            linq_api_key='linq"hunter2',
            chert_signing_secret="chert-hunter2",
            linq_webhook_secrets=("whsec_hunter2A",),
            redis_url="redis://:p%2Fhunter2@host",
        ),
        stream=stream,
    )
    log = structlog.get_logger()
    log.info("Bearer chert-hunter2", key='linq"hunter2', nested={"a": ["whsec_hunter2A", ("p/hunter2",)]})
    log.warning("p%2Fhunter2", **{"chert-hunter2": 1}, thing=ValueError("chert-hunter2 of +14155551234"))
    logging.getLogger("some.library").error("%s by %s", 'linq"hunter2', "bob@example.org")
    try:
        fail("chert-hunter2 of +44 20 7946 0958, %2B14155551234 and bob.smith@mail.example.org")
    except ValueError:
        log.exception("failed")
        logging.getLogger("some.library").exception("failed")
    written = stream.getvalue()
    for private in ("hunter2", "4155551234", "7946", "bob"):
        assert private not in written
    assert written.count("ValueError") >= 3
    assert "test_logging.py" in written


@pytest.mark.parametrize(
    ("handle", "masked"),
    [
        ("+14155551234", "+1415•••1234"),
        ("+442079460958", "+4420•••0958"),
        ("+4930123456", "+49•••56"),
        ("%2B14155551234", "+1415•••1234"),
        ("alice@example.org", "a•••@example.org"),
        ("@example.org", "•••@example.org"),
        ("4155551234", "•••"),
        ("+1", "•••"),
        ("", "•••"),
    ],
)
def test_a_handle_is_recognizable_but_not_known(handle: str, masked: str) -> None:
    assert mask_handle(handle) == masked


@given(st.integers(10**6, 10**15 - 1), st.text(max_size=5))
def test_no_number_gets_through_whole(number: int, around: str) -> None:
    assert str(number) not in mask_text(())(f"{around} +{number}{around}").replace(around or "\0", "")


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-12T09:31:18.000+00:00",
        "2026-10-12 09:31:18 +0000",
        "1700000000123 3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13",
        "took 1.5e+10 s",
        "location:share:0192 user@host",
    ],
)
def test_what_is_no_handle_stays_as_it_is(text: str) -> None:
    assert mask_text(("abc",))(text) == text


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    mask = mask_text(("secret-key",))
    assert len(mask("a" * 1_000_000)) == 1_000_000
    assert len(mask("+" * 100_000 + "1 " * 100_000)) <= 300_000


def test_a_level_that_is_off_writes_nothing(stream: io.StringIO, lines: Lines) -> None:
    configure_logging(settings(log_level="WARNING"), stream=stream)
    structlog.get_logger().info("unseen")
    logging.getLogger("some.library").info("unseen")
    logging.getLogger("some.library").warning("seen")
    assert [line["event"] for line in lines()] == ["seen"]


def test_lines_of_a_job_carry_its_id_and_function_but_no_argument(stream: io.StringIO, lines: Lines) -> None:
    configure_logging(settings(), stream=stream)
    arq = logging.getLogger("arq.worker")
    arq.info("%6.2fs → %s(%s)%s", 0.1, "id:send_pin", "latitude=52.5", " try=2")
    arq.info("%6.2fs ← %s ● %s", 0.25, "id:send_pin", "{'latitude': 52.5}")
    arq.warning("job %s, function %r not found", "id", "latitude 52.5")
    arq.info("a line of the future: %s", "latitude 52.5")
    try:
        fail("latitude 52.5", KeyError("latitude 52.5"))
    except ValueError as error:
        arq.exception("%6.2fs ! %s failed, %s: %s", 0.1, "id:send_pin", "ValueError", error)
    # The traceback shows the line of this test, which is source code, not data.
    assert "52.5" not in stream.getvalue().replace('fail(\\"latitude 52.5\\", KeyError(\\"latitude 52.5\\"))', "")
    started, finished, unknown, future, failed = lines()
    assert (started["event"], started["job_id"], started["function"]) == ("job started", "id", "send_pin")
    assert (finished["event"], finished["job_id"], finished["seconds"]) == ("job finished", "id", 0.25)
    assert (unknown["event"], unknown["job_id"]) == ("job names no function", "id")
    assert future["event"] == "a line of the future: %s"
    assert (failed["event"], failed["error"]) == ("job failed", "ValueError")
    assert failed["exception"].splitlines()[-1] == "ValueError"
    assert "KeyError" in failed["exception"]


@pytest.mark.parametrize(("level", "ticks"), [("INFO", 0), ("DEBUG", 2)])
def test_the_ticks_of_cron_jobs_show_at_debug_only(stream: io.StringIO, lines: Lines, level: str, ticks: int) -> None:
    configure_logging(settings(log_level=level), stream=stream)
    arq = logging.getLogger("arq.worker")
    arq.info("%6.2fs → %s(%s)%s", 0.1, "cron:poll_due", "", "")
    arq.info("%6.2fs ← %s ● %s", 0.1, "cron:poll_due", "")
    assert len(lines()) == ticks


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_requests_show_at_debug_only_and_without_query(stream: io.StringIO, lines: Lines, level: Any) -> None:
    configure_logging(settings(log_level=level), stream=stream)
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(204))) as client:
        client.get("https://user:word@linq.example/v3/chats?from=secret")
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", "/x?a=secret", "1.1", 200)
    if level == "INFO":
        assert lines() == []
        return
    asked, answered = lines()
    assert (asked["method"], asked["url"], asked["status"]) == ("GET", "https://linq.example/v3/chats", 204)
    assert (answered["method"], answered["path"], answered["status"]) == ("GET", "/x", 200)


def test_a_broken_line_of_a_library_does_not_show_its_arguments(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, lines: Lines
) -> None:
    # pytest's own handlers would raise.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(settings(), stream=stream)
    logging.getLogger("some.library").info("%d", "hunter2")
    (line,) = lines()
    assert line["event"] == "a library's log line could not be written"
    assert line["logger"] == "some.library"


def test_a_closed_stream_stops_nothing(stream: io.StringIO) -> None:
    configure_logging(settings(), stream=stream)
    stream.close()
    structlog.get_logger().info("into the void")
    logging.getLogger("some.library").warning("into the void")


def test_a_logger_that_has_written_follows_a_second_set_up(stream: io.StringIO) -> None:
    configure_logging(settings(), stream=io.StringIO())
    log = structlog.get_logger()
    log.info("first")
    configure_logging(settings(linq_api_key="hunter2-key"), stream=stream)
    log.info("second", key="hunter2-key")
    logging.getLogger("some.library").info("third")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["second", "third"]
    assert "hunter2" not in stream.getvalue()


def test_a_process_logs_to_stderr_warnings_too() -> None:
    program = (
        "import warnings; from config.logging import configure_logging; from config.settings import Settings;"
        "configure_logging(Settings()); warnings.warn('call +14155551234', stacklevel=1)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={"LOG_LEVEL": "INFO"},
    )
    assert ended.stdout == ""
    assert "+1415•••1234" in json.loads(ended.stderr)["event"]
