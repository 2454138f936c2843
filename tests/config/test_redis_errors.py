"""What is wrong with a Redis is recognized by what it or the system says, and no password is shown."""

import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from config import redis_errors
from config.redis import connect, redis_address
from config.redis_errors import Trouble, explain, explain_refusal
from config.settings import Settings
from location_client.sentinel import MasterUnknownError
from simulator.embedded_redis import EmbeddedRedis
from tests.support.ports import free_port
from tests.support.rawserver import secured
from tests.support.tls import tls_front

PASSWORD = "p@ss:word/1"
QUOTED = "p%40ss%3Aword%2F1"


class Place(NamedTuple):
    """A Redis with a password and users: its plain port, its port for TLS, and its CA certificate."""

    plain: int
    tls: int
    authority: Path


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tcp=True) as running:
        yield running


@pytest.fixture
async def place(server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[Place]:
    authority = trustme.CA()
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    async with tls_front(server, secured(authority.issue_cert("127.0.0.1"))) as tls:
        yield Place(server.port, tls, path)


@pytest.fixture
async def locked(server: EmbeddedRedis) -> AsyncIterator[None]:
    """Require a password of everybody, and add a user with hardly any rights."""
    plain = Settings(redis_url=server.url)
    async with connect(plain) as redis:
        await redis.acl_setuser("poor", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+get"])
        await redis.config_set("requirepass", PASSWORD)
    yield
    async with connect(Settings(redis_url=server.url.replace("//", f"//:{QUOTED}@"))) as redis:
        await redis.config_set("requirepass", "")


async def trouble_of(url: str) -> Trouble:
    settings = Settings(redis_url=url)
    async with connect(settings, socket_timeout=0.5) as redis:
        with pytest.raises((RedisError, OSError)) as caught:
            await redis.ping()
        return await explain_refusal(caught.value, redis_address(settings))


@pytest.mark.parametrize(
    ("user", "cause"),
    [("", "NOAUTH"), (":wrong@", "WRONGPASS"), (f"nobody:{QUOTED}@", "WRONGPASS"), (f"poor:{QUOTED}@", "NOPERM")],
)
async def test_a_login_that_is_refused_is_final(place: Place, locked: None, user: str, cause: str) -> None:
    trouble = await trouble_of(f"redis://{user}127.0.0.1:{place.plain}/0")
    assert trouble.final
    assert cause in trouble.cause
    assert trouble.remedy
    assert PASSWORD not in str(trouble)


async def test_a_password_that_nobody_asks_for_is_final(place: Place) -> None:
    trouble = await trouble_of(f"redis://:{QUOTED}@127.0.0.1:{place.plain}/0")
    assert trouble.final
    assert "has no password, and REDIS_URL has one" in trouble.cause


async def test_a_certificate_that_is_not_accepted_is_final_and_the_ways_around_it_work(place: Place) -> None:
    url = f"rediss://127.0.0.1:{place.tls}/0"
    trouble = await trouble_of(url)
    assert trouble.final
    assert "certificate" in trouble.cause
    for way in (f"ssl_ca_certs={place.authority}", "ssl_cert_reqs=none"):
        name, _, _ = way.partition("=")
        assert f"?{name}=" in trouble.remedy
        async with connect(Settings(redis_url=f"{url}?{way}")) as redis:
            assert await redis.ping()


async def test_tls_to_a_plain_port_is_final(place: Place) -> None:
    trouble = await trouble_of(f"rediss://127.0.0.1:{place.plain}/0")
    assert (trouble.cause, trouble.final) == ("speaks no TLS at this port", True)
    assert "redis://" in trouble.remedy


async def test_a_plain_connection_to_a_tls_port_is_final(place: Place) -> None:
    trouble = await trouble_of(f"redis://127.0.0.1:{place.tls}/0")
    assert (trouble.cause, trouble.final) == ("speaks TLS at this port", True)
    assert "rediss://" in trouble.remedy


def test_a_server_that_wants_a_certificate_of_ours_is_final() -> None:
    # The alert that Redis 7.0 with tls-auth-clients sends; an asyncio server would just close the connection.
    alert = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    error = RedisConnectionError("Error while reading from 127.0.0.1:6379")
    error.__cause__ = alert
    trouble = explain(error)
    assert trouble.final
    assert "CERTIFICATE_REQUIRED" in trouble.cause
    assert "ssl_certfile" in trouble.remedy


async def test_what_is_away_or_hangs_is_waited_for_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_errors, "_PROBE_SECONDS", 0.2)
    closed = free_port()
    causes = {
        f"redis://127.0.0.1:{closed}/0": "refuses connections",
        f"rediss://127.0.0.1:{closed}/0": "refuses connections",
        "redis://nowhere.invalid/0": "host name is not known",
        "unix:///nowhere/socket": "No such file",
        f"redis+sentinel://:{QUOTED}@127.0.0.1:{closed}/0?master=main": "no sentinel that answers; one refuses",
    }
    for url, cause in causes.items():
        trouble = await trouble_of(url)
        assert cause in trouble.cause
        assert not trouble.final
    with EmbeddedRedis(tcp=True) as server:
        server.pause()
        trouble = await trouble_of(server.url)
        server.resume()
    assert (trouble.cause, trouble.final) == ("does not answer in time", False)


def test_sentinels_that_name_no_master_say_why() -> None:
    def unknown(cause: Exception | None) -> RedisConnectionError:
        wrapped = RedisConnectionError("as redis-py wraps it")
        wrapped.__cause__ = MasterUnknownError("no sentinel names the master 'main'")
        wrapped.__cause__.__cause__ = cause
        return wrapped

    assert "being replaced" in explain(unknown(None)).cause
    assert "?master=" in explain(unknown(MasterUnknownError("it watches no master of the name 'main'"))).remedy
    refused = explain(unknown(AuthenticationError("invalid username-password pair or user is disabled.")))
    assert "WRONGPASS" in refused.cause
    assert refused.final


async def test_a_file_of_a_certificate_that_is_missing_is_named(place: Place) -> None:
    trouble = await trouble_of(f"rediss://127.0.0.1:{place.tls}/0?ssl_ca_certs=/nowhere/ca.pem")
    assert "No such file" in trouble.cause
    assert "paths in REDIS_URL" in trouble.remedy


def test_nothing_of_a_command_gets_into_the_words() -> None:
    refused = ResponseError(
        "Command # 1 (SET location:latest +12025550147) of pipeline caused error: ('WRONGTYPE held',)"
    )
    full = OutOfMemoryError("Command # 1 (SET location:latest +12025550147) of pipeline caused error")
    for error in (refused, full, RedisError("+12025550147"), RedisConnectionError("+12025550147")):
        assert "12025550147" not in str(explain(error))
    assert "WRONGTYPE" in explain(refused).cause
    assert "OOM" in explain(full).cause
