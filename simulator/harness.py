"""The simulator inside a Python process: a real server on a free loopback port, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self

from simulator.director import Director
from simulator.server import SimulationServer, create_server
from simulator.simulation import Simulation
from simulator.world import LINE, Habits, World


class SimulatorServer(Director):
    """A director whose simulation is served while the context lasts; `with` and `async with` do the same.

    `base_url` is for `LINQ_API_V3_BASE_URL` (paths below it start with `/v3/`), `chert_base_url` for `CHERT_BASE_URL`.
    The port is taken at once, so both are known before the server runs; people may be added before, too.
    """

    def __init__(
        self,
        *,
        habits: Habits | None = None,
        lines: tuple[str, ...] = (LINE,),
        chert_tenant: str | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(Simulation(World(habits, lines), chert_tenant=chert_tenant))
        # asyncio turns Nagle's delay off only where the protocol is named.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen(2048)
        self._port: int = self._socket.getsockname()[1]
        self._server: SimulationServer | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()

    @property
    def base_url(self) -> str:
        """Linq's base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def chert_base_url(self) -> str:
        """Chert's base URL."""
        return self.base_url

    @property
    def port(self) -> int:
        """The loopback port."""
        return self._port

    @property
    def api_key(self) -> str:
        """Bearer token for Linq."""
        return self.simulation.api_key

    @property
    def chert_secret(self) -> str:
        """Bearer token for Chert."""
        return self.simulation.chert_secret

    @property
    def world(self) -> World:
        """The model. Reading it from another thread is fine; changes go through the director's methods."""
        return self.simulation.world

    def start(self) -> Self:
        """Serve; return once requests are answered."""
        self._thread = threading.Thread(target=self._serve, name="simulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the simulator did not start within 10 s")
        return self

    def stop(self) -> None:
        """End hanging replies, stop serving and wait for the thread."""
        if self._server is not None and self.loop is not None:
            self.loop.call_soon_threadsafe(self._server.end)
        if self._thread is not None:
            self._thread.join(10)
        self._socket.close()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start without blocking the caller's loop."""
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Stop without blocking the caller's loop, which may be the receiver of a webhook under way."""
        await asyncio.to_thread(self.stop)

    def _serve(self) -> None:
        self._server = create_server(self, started=self._ready.set)
        with asyncio.Runner() as runner:
            runner.run(self._server.serve(sockets=[self._socket]))
