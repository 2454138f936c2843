"""Which errors of Redis pass by themselves: one list for whoever waits, in the client and in the worker."""

import re

from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

_PASSING = (
    RedisConnectionError,  # away, starting (LOADING), too many clients
    RedisTimeoutError,
    OSError,
    ReadOnlyError,  # a replica, or a master that has just become one
    OutOfMemoryError,
    ClusterDownError,  # MASTERDOWN, too: a replica without its master
    TryAgainError,
)

# The first words of replies that redis-py, or its versions before 6, have no classes for.
_PASSING_WORDS = re.compile(
    "(?:Command # .* of pipeline caused error: )?"
    "(?:MISCONF "  # a snapshot failed: nothing may be written
    "|NOREPLICAS "  # fewer replicas than min-replicas-to-write
    "|MASTERDOWN |CLUSTERDOWN |TRYAGAIN "
    "|BUSY "  # a script runs for long
    "|UNBLOCKED "  # the server became a replica while a read waited
    # Redis 6.2 tells so what a script was refused.
    "|Error running script .*: -(?:OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN) )",
    re.DOTALL,
)


def passes_by_itself(error: BaseException) -> bool:
    """Return whether an error of Redis ends without a change to the program, its settings or its rights.

    Redis is away, starts, hangs, is full, or may not be written now. A refused login (`is_login_refused`) is not among
    these errors.
    """
    if isinstance(error, AuthenticationError):
        return False
    return isinstance(error, _PASSING) or (
        isinstance(error, ResponseError) and _PASSING_WORDS.match(str(error)) is not None
    )


def is_login_refused(error: BaseException) -> bool:
    """Return whether Redis refused user or password.

    This is final for whoever connects for the first time. Whoever was let in before waits: the password may be changed
    at this moment.
    """
    return isinstance(error, AuthenticationError)
