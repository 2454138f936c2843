import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from simulator import embedded_redis
from simulator.embedded_redis import EmbeddedRedis, EmbeddedRedisError, bundled_server, find_server
from tests.support.servers import StartServer
from tests.support.waiting import wait_until


@pytest.mark.parametrize("tcp", [False, True])
async def test_the_server_answers_as_soon_as_it_is_there_and_is_gone_afterwards(binary: Path, tcp: bool) -> None:
    with EmbeddedRedis(binary=binary, tcp=tcp) as server:
        assert server.url.startswith("redis://127.0.0.1:" if tcp else "unix://")
        async with Redis.from_url(server.url) as redis:
            assert await redis.ping()
            assert (await redis.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
    assert not server.directory.exists()
    server.stop()
    async with Redis.from_url(server.url) as redis:
        with pytest.raises(RedisConnectionError):
            await redis.ping()


@pytest.mark.parametrize("persistence", [False, True])
async def test_data_survives_a_restart_only_with_persistence(start_server: StartServer, persistence: bool) -> None:
    server = start_server(persistence=persistence)
    async with Redis.from_url(server.url) as redis:
        await redis.set("name", "value")
        server.halt()
        with pytest.raises(RedisConnectionError):
            await redis.get("name")
        server.restart()
        assert await redis.get("name") == (b"value" if persistence else None)


async def test_a_paused_server_hangs_and_goes_on(start_server: StartServer) -> None:
    server = start_server()
    async with Redis.from_url(server.url, socket_timeout=0.2) as redis:
        await redis.ping()
        server.pause()
        with pytest.raises(RedisTimeoutError):
            await redis.ping()
        server.resume()
        assert await redis.ping()
    server.pause()
    server.stop()


async def test_the_server_ends_with_its_owner_even_when_that_is_killed(binary: Path) -> None:
    program = (
        "import sys, time, pathlib; from simulator.embedded_redis import EmbeddedRedis;"
        "server = EmbeddedRedis(binary=pathlib.Path(sys.argv[1]));"
        "print(server.url, server._server.pid, flush=True); time.sleep(600)"
    )
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, binary, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert owner.stdout
    url, pid = (await owner.stdout.readline()).decode().split()
    directory = Path(url.removeprefix("unix://")).parent
    assert _runs(int(pid))
    owner.kill()
    await owner.wait()
    await wait_until(lambda: not directory.exists(), "the directory is removed")
    await wait_until(lambda: not _runs(int(pid)), "the server has ended")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # In a container without an init, a process that nobody waits for stays as a zombie.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state) and not state.startswith("Z")


def test_a_long_temporary_directory_is_avoided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with EmbeddedRedis() as server:
        assert len(server.url) < 108
    assert not list(deep.iterdir())


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho no luck today\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(EmbeddedRedisError, match="did not start: no luck today"):
        EmbeddedRedis(binary=broken)


def test_a_server_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedRedisError, match="did not start"):
        EmbeddedRedis(binary=tmp_path / "redis-server")


def test_an_old_server_on_the_path_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=6.0.16 sha=00000000:0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == bundled_server()
    new = tmp_path / "valkey-server"
    new.write_text("#!/bin/sh\necho Valkey server v=8.0.1 sha=00000000:0\n")
    new.chmod(0o755)
    assert find_server() == new


def test_without_any_server_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded_redis, "bundled_server", lambda: None)
    with pytest.raises(EmbeddedRedisError, match="install redis-server or valkey-server"):
        EmbeddedRedis()


async def test_ctrl_c_in_a_terminal_does_not_reach_the_server(start_server: StartServer) -> None:
    server = start_server()
    assert server._server
    assert os.getpgid(server._server.pid) != os.getpgid(0)
