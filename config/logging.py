"""Logs: one line per event on stderr, readable on a terminal, JSON elsewhere, with nothing private in it.

Every line goes the same way, also those of libraries. Secrets, phone numbers and e-mail addresses are masked in the
finished line, so they are caught wherever they appear: in a value, a traceback, the repr of an object. What has no
recognizable form (coordinates, addresses) must not be logged in the first place.
"""

import asyncio
import json
import logging
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.settings import Settings

_HIDDEN = "•••"
# A shorter "secret" is part of ordinary words, and masking it would only make logs unreadable.
_MIN_SECRET_LENGTH = 4
_MAX_NAME_LENGTH = 100
_SUM_SECONDS = 1.0

# The list itself never changes identity: loggers made before a second `configure_logging` use it, too.
_processors: list[Processor] = []

_PHONE = r"(?:\+|%2[Bb])[1-9](?:[ ().-]{0,2}[0-9]){6,14}"
_EMAIL = r"[\w.%+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"
_COLOUR = r"\x1b\[[0-9;]*m"


def mask_handle(handle: str) -> str:
    """Return a handle in a form that hides it: `+1415•••1234`, `a•••@example.org`; hide any other text completely."""
    local, at, domain = handle.rpartition("@")
    if at:
        return f"{local[:1]}{_HIDDEN}@{domain}"
    digits = re.sub(r"[^0-9]", "", handle.removeprefix("%2B").removeprefix("%2b"))
    if not handle.startswith(("+", "%2B", "%2b")) or len(digits) < 7:
        return _HIDDEN
    shown = 4 if len(digits) > 10 else 2
    return f"+{digits[:shown]}{_HIDDEN}{digits[-shown:]}"


def mask_text(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return a function that masks these secrets and every handle in a text."""
    forms = set()
    for secret in secrets:
        if len(secret) >= _MIN_SECRET_LENGTH:
            # Unchanged, in JSON, in the repr of a text, in a URL.
            forms |= {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
            forms |= {repr(secret)[1:-1], quote(secret, safe="")}
    parts = [re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
    # A colour code ends in a letter that would otherwise count as the beginning of an e-mail address.
    pattern = re.compile(f"(?P<secret>{'|'.join(parts) or '(?!)'})|(?P<colour>{_COLOUR})|(?P<handle>{_PHONE}|{_EMAIL})")

    def replace(match: re.Match[str]) -> str:
        if match["secret"]:
            return _HIDDEN
        return match["colour"] or mask_handle(match["handle"])

    return lambda text: pattern.sub(replace, text)


def configure_logging(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Send the lines of structlog and of every library to `stream` (default: stderr), masked.

    Once per process, before the first line: loggers that have written keep their level when this is called again.
    A library with a logging set-up of its own must be told to leave it (uvicorn: `log_config=None`).
    """
    _Output.stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.log_level]
    terminal = _Output.stream.isatty()
    people = settings.log_format == "console" or (settings.log_format is None and terminal)
    mask = mask_text(settings.secrets())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor] = [
        *(_for_people(terminal) if people else _for_machines()),
        lambda _logger, _method, line: mask(str(line)),
    ]
    _processors[:] = [*common, *render]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Output(),
        # A debug line that is switched off then costs almost nothing.
        cache_logger_on_first_use=True,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name, _tame],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
            pass_foreign_args=True,
        )
    )
    if level > logging.DEBUG:
        handler.addFilter(_is_no_tick)
    root = logging.getLogger()
    for other in [other for other in root.handlers if isinstance(other, _Handler)]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(level)
    # Their debug lines report every wake-up and every header.
    for name in ("asyncio", "httpcore", "redis"):
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    # A line for every request, with ids in its URL: only for debugging, although these libraries log it as INFO.
    for name in ("httpx", "uvicorn.access"):
        logging.getLogger(name).setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


class SummedLine:
    """A log line that outsiders can provoke: written at most once a second for each cause, with a count.

    For use on an event loop. `write` is a logger's method; `fields` go into every line.
    """

    def __init__(self, write: Callable[..., object], event: str, **fields: str) -> None:
        self._write = write
        self._event = event
        self._fields = fields
        self._causes: Counter[str] = Counter()

    def add(self, cause: str) -> None:
        """Count one more."""
        if not self._causes:
            asyncio.get_running_loop().call_later(_SUM_SECONDS, self.flush)
        self._causes[cause] += 1

    def flush(self) -> None:
        """Write what was counted, at once."""
        causes, self._causes = self._causes, Counter()
        for cause, count in causes.items():
            self._write(self._event, cause=cause, count=count, **self._fields)


def _for_people(terminal: bool) -> list[Processor]:
    # Not rich's tracebacks, which show the values of local variables.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=plain)]


def _for_machines() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        lambda _logger, _method, event: {
            **{name: event[name] for name in ("timestamp", "level", "event") if name in event},
            **event,
        },
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


class _Output:
    """Writes finished lines; a log that cannot be written must not stop the work."""

    stream: ClassVar[TextIO] = sys.stderr

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            self.stream.write(line + "\n")
            self.stream.flush()

    debug = info = warning = error = critical = msg


class _Handler(logging.Handler):
    """Sends the lines of libraries the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (whatever is wrong with a line of a library)
            # Instead of logging's own report, which shows the arguments.
            structlog.get_logger().error("a library's log line could not be written", logger=record.name)
        else:
            _Output().msg(line)


# arq's lines: the event that each becomes here, and names for its arguments; None drops it. `job` is "id:function".
_ARQ_LINES: dict[str, tuple[str, tuple[str | None, ...]]] = {
    "%6.2fs → %s(%s)%s": ("job started", (None, "job", None, None)),
    "%6.2fs ← %s ● %s": ("job finished", ("seconds", "job", None)),
    "%6.2fs ! %s failed, %s: %s": ("job failed", ("seconds", "job", "error", None)),
    "%6.2fs ↻ %s retrying job in %0.2fs": ("job will be tried again", ("seconds", "job", "retry_after")),
    "%6.2fs ↻ %s cancelled, will be run again": ("job cancelled, will be run again", ("seconds", "job")),
    "%6.2fs ⊘ %s aborted": ("job aborted", ("seconds", "job")),
    "%6.2fs ⊘ %s:%s aborted before start": ("job aborted before its start", ("seconds", "job_id", "function")),
    "%6.2fs ! %s max retries %d exceeded": ("job given up", ("seconds", "job", "tries")),
    "job %s expired": ("job expired", ("job_id",)),
    "job %s, function %r not found": ("job names no function", ("job_id", None)),
    "job %s already running elsewhere": ("job runs elsewhere", ("job_id",)),
    "multi-exec error, job %s already started elsewhere": ("job was started elsewhere", ("job_id",)),
    "deserializing job %s failed": ("job cannot be read", ("job_id",)),
    "error serializing result of %s": ("result cannot be written", ("job",)),
    "error serializing result of %s even after replacing result": ("result cannot be written", ("job",)),
    "Starting worker for %d functions: %s": ("arq starts", ("count", "functions")),
    "recording health: %s": ("arq's health", ("counts",)),
}
_TICKS = {"%6.2fs → %s(%s)%s", "%6.2fs ← %s ● %s"}


def _is_no_tick(record: logging.LogRecord) -> bool:
    """Return False for the two lines that arq writes for every run of a cron job."""
    if record.msg not in _TICKS or not isinstance(record.args, tuple):
        return True
    return not str(record.args[1]).startswith("cron:")


def _tame(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Rewrite the lines of libraries that would show arguments, results or queries."""
    record: logging.LogRecord = event["_record"]
    arguments = event.pop("positional_args", ())
    if record.name.partition(".")[0] == "arq":
        _tame_arq(event, record.msg, arguments)
    elif record.name == "httpx" and record.msg.startswith("HTTP Request: %s %s"):
        method, url, _, status, *_ = arguments
        event.update(event="http request", method=method, url=_without_query(str(url)), status=status)
    elif record.name == "uvicorn.access":
        _, method, path, _, status = arguments
        event.update(event="http answer", method=method, path=_without_query(path), status=status)
    return event


def _tame_arq(event: EventDict, template: str, arguments: Any) -> None:
    if arguments:
        # A line that is not in the table (from another version of arq, say) is shown without its arguments.
        event["event"], names = _ARQ_LINES.get(template, (template, ()))
        for name, value in zip(names, arguments, strict=False):
            if name == "job":
                event["job_id"], _, event["function"] = str(value)[:_MAX_NAME_LENGTH].rpartition(":")
            elif name:
                event[name] = round(value, 3) if isinstance(value, float) else str(value)[:_MAX_NAME_LENGTH]
    error = event.pop("exc_info", None)
    if error and error[1]:
        event["exception"] = _traceback_without_messages(error[1])


def _traceback_without_messages(error: BaseException) -> str:
    """Return where it failed and the exceptions' types, without their texts, which may repeat a job's arguments."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following and following not in chain:
        chain.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return "\n".join(
        "".join(traceback.format_tb(part.__traceback__)) + type(part).__qualname__ for part in reversed(chain)
    )


def _without_query(url: str) -> str:
    return re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])
