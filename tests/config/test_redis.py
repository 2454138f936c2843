import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from config.redis import arq_pool, connect
from config.settings import Settings
from tests.support.servers import StartServer
from tests.support.waiting import wait_until


@asynccontextmanager
async def connected(url: str, **options: float) -> AsyncIterator[Redis]:
    client = connect(Settings(redis_url=url), **options)  # type: ignore[arg-type] # only the time-out is passed here
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_quoted_password_a_database_and_query_options_reach_the_server(start_server: StartServer) -> None:
    server = start_server(tcp=True)
    async with connected(server.url) as redis:
        await redis.config_set("requirepass", "p@ss/w:rd")
    url = server.url.replace("redis://", "redis://:p%40ss%2Fw%3Ard@").replace("/0", "/3?client_name=mine")
    async with connected(url) as redis:
        assert await redis.client_getname() in {"mine", b"mine"}
        assert (await redis.client_info())["db"] == 3
    async with connected(server.url) as redis:
        with pytest.raises(RedisError):
            await redis.get("name")


async def test_connections_are_kept_alive_and_time_out(start_server: StartServer) -> None:
    server = start_server(tcp=True)
    async with connected(server.url, socket_timeout=0.2) as redis:
        connection = await redis.connection_pool.get_connection()
        try:
            option = connection._writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        finally:
            await redis.connection_pool.release(connection)
        assert option
        server.pause()
        with pytest.raises(RedisTimeoutError):
            await redis.ping()
        server.resume()
        assert await redis.ping()


async def test_a_command_that_got_no_answer_is_not_sent_again(start_server: StartServer) -> None:
    server = start_server()
    async with connected(server.url, socket_timeout=0.3) as redis, connected(server.url) as other:
        await redis.ping()
        server.pause()
        with pytest.raises(RedisTimeoutError):
            await redis.incr("counter")
        server.resume()
        await wait_until(lambda: other.get("counter"), "the server has run the command")
        assert await redis.get("counter") == b"1"


async def test_a_server_that_hangs_while_we_connect_is_given_up(start_server: StartServer) -> None:
    server = start_server(tcp=True)
    server.pause()
    async with connected(server.url, socket_timeout=0.2) as redis, asyncio.timeout(30):
        with pytest.raises(RedisTimeoutError):
            await redis.ping()
        server.resume()
        assert await redis.ping()


async def test_a_client_outlives_the_server(start_server: StartServer) -> None:
    server = start_server()
    async with connected(server.url) as redis:
        await redis.ping()
        server.halt()
        for _ in range(2):
            with pytest.raises(RedisConnectionError):
                await redis.ping()
        server.restart()
        assert await redis.ping()


async def test_connecting_is_tried_again_for_a_moment(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()
    server.halt()
    attempts = []
    original = asyncio.open_unix_connection

    async def refused_once(*arguments: object, **options: object) -> object:
        attempts.append(time.monotonic())
        if len(attempts) == 2:
            server.restart()
        return await original(*arguments, **options)  # type: ignore[arg-type] # passed through

    monkeypatch.setattr(asyncio, "open_unix_connection", refused_once)
    async with connected(server.url) as redis:
        assert await redis.ping()
    assert len(attempts) == 2


async def test_replies_are_bytes_unless_text_is_asked_for(redis_url: str, redis: Redis, prefix: str) -> None:
    await redis.set(f"{prefix}:text", "é", ex=60)
    assert await redis.get(f"{prefix}:text") == "é".encode()
    client = connect(Settings(redis_url=redis_url), decode_responses=True)
    assert await client.get(f"{prefix}:text") == "é"
    await client.aclose()


async def test_arq_queues_over_the_same_connection(redis_url: str, redis: Redis, prefix: str) -> None:
    settings = Settings(redis_url=redis_url, key_prefix=prefix)
    pool = arq_pool(settings, job_serializer=lambda job: repr(sorted(job)).encode())
    job = await pool.enqueue_job("request_location", _job_id=prefix)
    await pool.aclose()
    assert job
    assert await redis.zrange(f"{prefix}:jobs", 0, -1) == [prefix.encode()]
    assert (await redis.getdel(f"arq:job:{prefix}")).startswith(b"['a',")


def test_without_a_url_there_is_no_connection() -> None:
    with pytest.raises(ValueError, match="REDIS_URL is not set"):
        connect(Settings())


@pytest.fixture(params=["", "secret"])
def sentinel(request: pytest.FixtureRequest, binary: Path, start_server: StartServer, tmp_path: Path) -> Iterator[str]:
    """Yield the REDIS_URL of a master with a password, behind a sentinel with no password or with the same one."""
    master = start_server(tcp=True)
    address, port = master.url.removeprefix("redis://").removesuffix("/0").split(":")
    with closing(socket.create_connection((address, int(port)), timeout=5)) as connection:
        connection.sendall(b"CONFIG SET requirepass secret\r\n")
        assert connection.recv(16).startswith(b"+OK")
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        own_port = probe.getsockname()[1]
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {own_port}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor main {address} {port} 1\nsentinel auth-pass main secret\n"
        + (f"requirepass {request.param}\n" if request.param else "")
    )
    process = subprocess.Popen([binary, configuration, "--sentinel"], stdout=subprocess.DEVNULL)
    yield f"redis+sentinel://:secret@127.0.0.1:1,127.0.0.1:{own_port}/2?master=main&socket_timeout=2"
    process.terminate()
    process.wait(10)


async def test_sentinel_leads_to_the_master_with_password_database_and_time_outs(sentinel: str) -> None:
    async with connected(sentinel) as redis:

        async def answers() -> bool:
            try:
                return bool(await redis.ping())
            except RedisError:
                return False

        await wait_until(answers, "the sentinel knows its master")
        assert (await redis.client_info())["db"] == 2
        assert redis.connection_pool.connection_kwargs["socket_timeout"] == 2
        connection = await redis.connection_pool.get_connection()
        assert (connection.socket_timeout, connection.password) == (2, "secret")
        await redis.connection_pool.release(connection)


async def test_arq_works_behind_sentinel(sentinel: str) -> None:
    pool = arq_pool(Settings(redis_url=sentinel), default_queue_name="jobs")

    async def queued() -> bool:
        try:
            return await pool.enqueue_job("request_location") is not None
        except RedisError:
            return False

    await wait_until(queued, "a job is queued")
    assert await pool.zcard("jobs") >= 1
    await pool.aclose()
