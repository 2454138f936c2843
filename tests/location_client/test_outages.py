"""Faults that pass by themselves are told from those that need fixing, as every supported redis-py raises them."""

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from location_client.outages import error_code, is_login_refused, passes_by_itself


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Connection refused"),
        RedisTimeoutError("Timeout reading from socket"),
        ConnectionResetError(104, "Connection reset by peer"),
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk."),
        ResponseError("Command # 1 (SET name value) of pipeline caused error: MISCONF Redis is configured to save"),
        ResponseError("Command # 1 (SET name value) of pipeline caused error: ('NOREPLICAS Not enough replicas',)"),
        ResponseError("NOREPLICAS Not enough good replicas to write. script: 166a8013, on @user_script:1."),
        NoScriptError("No matching script. Please use EVAL."),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        ResponseError("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
        ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"),
        ResponseError(
            "Error running script (call to f_6b1bf486c81ceb7edf3c093f4c48582e38c0e791): @user_script:1: "
            "@user_script: 1: "
            "-OOM command not allowed when used memory > 'maxmemory'."
        ),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error).split()[0]}",
)
def test_what_passes_by_itself_is_waited_out(error: Exception) -> None:
    assert passes_by_itself(error)
    assert not is_login_refused(error)


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("BUSYGROUP Consumer Group name already exists"),
        ResponseError("NOGROUP No such key 'location:events' or consumer group 'billing' in XREADGROUP"),
        ResponseError("unknown command 'XADDD'"),
        NoPermissionError("this user has no permissions to run the 'xadd' command"),
        ValueError("MISCONF is not said by Redis here"),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error).split()[0]}",
)
def test_what_somebody_has_to_mend_is_not(error: Exception) -> None:
    assert not passes_by_itself(error)


def test_a_refused_login_is_told_from_an_outage() -> None:
    error = AuthenticationError("invalid username-password pair or user is disabled.")
    # As redis-py raises it on a Unix socket.
    wrapped = RedisConnectionError(str(error))
    wrapped.__cause__ = error
    for one in (error, wrapped):
        assert is_login_refused(one)
        assert not passes_by_itself(one)
        assert error_code(one) == "WRONGPASS"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError("Authentication required."), "NOAUTH"),
        (AuthenticationError("invalid username-password pair or user is disabled."), "WRONGPASS"),
        (
            AuthenticationError("AUTH <password> called without any password configured for the default user."),
            "NOPASS",
        ),
        (NoPermissionError("this user has no permissions to run the 'xadd' command"), "NOPERM"),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "WRONGTYPE"),
        (ResponseError("unknown command 'XADDD'"), ""),
        (RedisConnectionError("Connection refused"), ""),
        (ValueError("OOM is not said by Redis here"), ""),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_redis_refuses_has_a_name(error: Exception, code: str) -> None:
    assert error_code(error) == code
