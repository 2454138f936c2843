"""What is wrong with Redis and how to fix it, in words for the log, the command line and the doctor."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from location_client.address import RedisAddress
from location_client.outages import error_code
from location_client.sentinel import MasterUnknownError

_PROBE_SECONDS = 3.0
# What TLS reports when a server without TLS answers its greeting.
_NO_TLS = frozenset(
    ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "BAD_RECORD_TYPE")
)


class Trouble(NamedTuple):
    """What is wrong, to follow the word "Redis" (`cause`), and what to do. `final`: at a start, waiting is useless."""

    cause: str
    remedy: str
    final: bool = False


_REFUSALS = {
    "OOM": Trouble(
        "is full and refuses writes (OOM)",
        "it recovers by itself as events expire; else raise maxmemory, or lower EVENTS_RETENTION_SECONDS",
    ),
    "READONLY": Trouble(
        "is a replica and refuses writes (READONLY)",
        "a failover passes; else let REDIS_URL name the master, or the sentinels",
    ),
    "MISCONF": Trouble("cannot write to its disk and refuses writes (MISCONF)", "check the disk and the log of Redis"),
    "NOREPLICAS": Trouble(
        "has fewer replicas than min-replicas-to-write and refuses writes (NOREPLICAS)", "bring a replica back"
    ),
    "MASTERDOWN": Trouble(
        "is a replica without its master (MASTERDOWN)",
        "a failover passes; else let REDIS_URL name the master, or the sentinels",
    ),
    "LOADING": Trouble("is loading its data (LOADING)", "it goes on by itself"),
    "BUSY": Trouble("is held up by somebody's script (BUSY)", "SCRIPT KILL ends it"),
    "NOSCRIPT": Trouble("has lost its scripts (NOSCRIPT)", "they are loaded again by themselves"),
    "NOAUTH": Trouble(
        "asks for a password, and REDIS_URL has none (NOAUTH)",
        "redis://:PASSWORD@HOST:PORT, special characters URL-quoted",
        final=True,
    ),
    "WRONGPASS": Trouble(
        "refuses the user or password of REDIS_URL (WRONGPASS)",
        "correct them; special characters have to be URL-quoted",
        final=True,
    ),
    "NOPASS": Trouble(
        "has no password, and REDIS_URL has one", "take it out of REDIS_URL, or set one in Redis", final=True
    ),
    "NOPERM": Trouble(
        "does not let this user do what is needed (NOPERM)",
        "docs/operations.md lists the rights that are needed; ACL LOG says which one was missing",
        final=True,
    ),
}
_PLAIN = Trouble("speaks no TLS at this port", "let REDIS_URL begin with redis://, or name its TLS port", final=True)
_TLS = Trouble("speaks TLS at this port", "let REDIS_URL begin with rediss://, or name its plain port", final=True)


def explain(error: BaseException) -> Trouble:
    """Return what an error of Redis means, without any password and without anything from the command."""
    code = error_code(error)
    if code in _REFUSALS:
        return _REFUSALS[code]
    if code:
        return Trouble(f"answers {code}", "`location-worker doctor` looks closer")
    origins = list(_origins(error))
    for origin in reversed(origins):
        if isinstance(origin, MasterUnknownError):
            return _explain_sentinels(origin)
    for origin in origins:
        trouble = _explain_connection(origin)
        if trouble is not None:
            return trouble
    return Trouble(f"does not do what it was asked ({type(error).__name__})", "`location-worker doctor` looks closer")


async def explain_refusal(error: BaseException, address: RedisAddress) -> Trouble:
    """Return what `explain` does, after checking whether the port expects TLS, if that may be the cause.

    A server does not report the mistake: it hangs or closes the connection.
    """
    trouble = explain(error)
    host, port = address.options.get("host"), address.options.get("port", 6379)
    if trouble.final or host is None or error_code(error):
        return trouble
    if _is_encrypted(address):
        return _PLAIN if await _speaks_plainly(host, port) else trouble
    return _TLS if await _speaks_tls(host, port) else trouble


def _explain_sentinels(error: MasterUnknownError) -> Trouble:
    """Return why no sentinel names a master, from the first one that failed; the master itself may be fine."""
    if error.__cause__ is None:
        return Trouble("is being replaced by its sentinels", "it goes on by itself")
    first = explain(error.__cause__)
    if isinstance(error.__cause__, MasterUnknownError):
        return Trouble("has sentinels that know no master of this name", "correct ?master= in REDIS_URL")
    return Trouble(f"has no sentinel that answers; one {first.cause}", first.remedy, first.final)


def _origins(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes, the first cause first: redis-py wraps the system's errors."""
    if error is not None:
        yield from _origins(error.__cause__ or error.__context__)
        yield error


def _explain_connection(error: BaseException) -> Trouble | None:
    remedy = "check REDIS_URL, the server and the network"
    match error:
        case ssl.SSLCertVerificationError():
            return Trouble(
                f"has a certificate that is not accepted ({error.verify_message})",
                "name its CA with ?ssl_ca_certs=/path/ca.pem in REDIS_URL; ?ssl_cert_reqs=none checks no certificate "
                "(needed where it is self-signed, as Heroku's are)",
                final=True,
            )
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ssl.SSLSyscallError():
            return Trouble("closed the connection", remedy)
        case ssl.SSLError() if error.reason in _NO_TLS:
            return _PLAIN
        case ssl.SSLError():
            return Trouble(
                f"and this process do not agree on TLS ({error.reason})",
                "check ssl_certfile, ssl_keyfile and ssl_ca_certs in REDIS_URL",
                final=True,
            )
        case socket.gaierror():
            return Trouble("cannot be found: its host name is not known", "check REDIS_URL and the DNS")
        case FileNotFoundError() | PermissionError():
            # A Unix socket, or a certificate.
            return Trouble(f"cannot be reached ({error.strerror})", "check the paths in REDIS_URL")
        case ConnectionRefusedError():
            return Trouble("refuses connections", "is it running at the address in REDIS_URL?")
        case TimeoutError():
            return Trouble("does not answer in time", remedy)
        case OSError():
            return Trouble(f"is away ({error.strerror or type(error).__name__})", remedy)
    return None


def _is_encrypted(address: RedisAddress) -> bool:
    return "ssl" in getattr(address.options.get("connection_class"), "__name__", "").lower()


async def _speaks_plainly(host: str, port: int) -> bool:
    """Return whether a server answers an unencrypted PING, even with a refusal."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.readexactly(1) in (b"+", b"-")
            finally:
                writer.transport.abort()
    return False


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the question is only whether there is TLS; nothing is sent
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.transport.abort()
            return True
    return False
