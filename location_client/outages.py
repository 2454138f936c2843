"""What Redis answers when it refuses something, and which of it passes: one list, for the client and the worker."""

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

# Whatever went wrong on the way: away, not there yet, cut off, too many clients, no answer in time.
_UNREACHABLE = (RedisConnectionError, RedisTimeoutError, OSError)

_PASSING = frozenset(
    (
        "OOM",  # full
        "READONLY",  # a replica, or a master that has just become one
        "MISCONF",  # a snapshot failed: nothing may be written
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

# redis-py takes the first word off the replies that it has classes for; its versions have classes for different ones.
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

# The first word of a reply; behind what redis-py puts in front of it in a pipeline, and what Redis 6.2 puts in front of
# it when a script was refused something.
_CODE = re.compile(
    r"(?:Command # .* of pipeline caused error: (?:\([\"'])?)?"
    r"(?:(?:ERR )?Error running script .*: -)?"
    r"(?P<code>[A-Z]+) ",
    re.DOTALL,
)


def error_code(error: BaseException) -> str:
    """Return the word with which Redis names what it refuses (`OOM`, `NOPERM`, …); empty where there is none.

    A refused login is `NOAUTH` (a password is asked for and none was given), `WRONGPASS` (user or password are wrong)
    or `NOPASS` (ours: a password was given where none is known).
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

    Redis is away, starts, hangs, is full, or may not be written now. A refused login (`is_login_refused`) is not among
    these errors.
    """
    if is_login_refused(error):
        return False
    return isinstance(error, _UNREACHABLE) or error_code(error) in _PASSING


def is_login_refused(error: BaseException) -> bool:
    """Return whether Redis refused user or password.

    This is final for whoever connects for the first time. Whoever was let in before waits: the password may be changed
    at this moment.
    """
    return isinstance(_said(error), AuthenticationError)


def _said(error: BaseException) -> BaseException:
    """Return what Redis said where redis-py has wrapped it: what is refused while it connects to a Unix socket."""
    cause = error.__cause__
    return cause if type(error) is RedisConnectionError and isinstance(cause, RedisError) else error
