"""Redis' refusals, and which of them are temporary: one list, for the client and the worker."""

import re

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# Failures to reach Redis: away, not there yet, cut off, too many clients, no answer in time.
_UNREACHABLE = (RedisConnectionError, RedisTimeoutError, OSError)

_PASSING = frozenset(
    (
        "OOM",  # full
        "READONLY",  # a replica, or a master that has just become one
        "MISCONF",  # a snapshot failed: no writes
        "NOREPLICAS",  # fewer replicas than min-replicas-to-write
        "MASTERDOWN",  # a replica without its master
        "LOADING",  # it starts
        "BUSY",  # a script runs for long
        "UNBLOCKED",  # the server became a replica while a read waited
        "NOSCRIPT",  # the scripts were flushed, or are those of another master: they are loaded with the next call
        "CLUSTERDOWN",
        "TRYAGAIN",
    )
)

# redis-py removes the first word of replies for which it has a class, and its versions have different classes.
_CODES: dict[type[Exception], str] = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    BusyLoadingError: "LOADING",
    NoScriptError: "NOSCRIPT",
    NoPermissionError: "NOPERM",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    TryAgainError: "TRYAGAIN",
}

# The first word of a reply, after the prefixes of redis-py for a pipeline, and of Redis 6.2 for a refusal inside a
# script.
_CODE = re.compile(
    r"(?:Command # .* of pipeline caused error: (?:\([\"'])?)?"
    r"(?:(?:ERR )?Error running script .*: -)?"
    r"(?P<code>[A-Z]+) ",
    re.DOTALL,
)


def error_code(error: BaseException) -> str:
    """Return Redis' word for a refusal (`OOM`, `NOPERM`, …), empty if there is none.

    A refused login is `NOAUTH` (a password is needed and none was given), `WRONGPASS` (user or password is wrong) or
    `NOPASS` (our word: a password was given, but Redis has none).
    """
    error = _said(error)
    if isinstance(error, AuthenticationError):
        text = str(error)
        if "without any password" in text or "no password is set" in text:
            return "NOPASS"
        return "NOAUTH" if "Authentication required" in text else "WRONGPASS"
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    found = _CODE.match(str(error)) if isinstance(error, ResponseError) else None
    return found["code"] if found else ""


def passes_by_itself(error: BaseException) -> bool:
    """Return whether an error of Redis ends without a change to the program, its settings or its rights.

    Redis is away, starts, hangs, is full, or refuses writes for now. A refused login (`is_login_refused`) is not among
    these errors.
    """
    if is_login_refused(error):
        return False
    return isinstance(error, _UNREACHABLE) or error_code(error) in _PASSING


def is_login_refused(error: BaseException) -> bool:
    """Return whether Redis refused user or password.

    This is final on a first connection. After a successful one it is worth waiting: the password may be being changed.
    """
    return isinstance(_said(error), AuthenticationError)


def _said(error: BaseException) -> BaseException:
    """Return Redis' own error if redis-py has wrapped it, as it does for refusals while connecting to a Unix socket."""
    cause = error.__cause__
    return cause if type(error) is RedisConnectionError and isinstance(cause, RedisError) else error
