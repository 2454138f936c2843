"""The HTTP server around a simulation."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
import threading
from collections.abc import AsyncGenerator, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from simulator import chert, control, linq
from simulator.director import Director
from simulator.failures import ApiError
from simulator.simulation import Simulation

TICK_SECONDS = 0.1  # as uvicorn: it sets the Date header
CLOSING_SECONDS = 2.0


class BreakableProtocol(H11Protocol):
    """HTTP that lets a reply reach its own connection, in order to break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class SimulationServer(uvicorn.Server):
    """Says when it answers, and ends what hangs on purpose before it waits for its connections."""

    def __init__(self, config: uvicorn.Config, simulation: Simulation, report_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._simulation = simulation
        self._report_start = report_start
        self._ending = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._report_start()

    async def main_loop(self) -> None:
        """Do as uvicorn, but notice at once that the server should end: tests start hundreds of them."""
        await self.on_tick(0)
        for tick in itertools.count(1):
            if self.should_exit:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), TICK_SECONDS)
            await self.on_tick(tick)

    def end(self) -> None:
        """Let the server end; called on its loop."""
        self.should_exit = True
        self._ending.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Do as uvicorn, but wait only as long as there are connections."""
        await self._simulation.close()
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 (uvicorn has no event)
                    await asyncio.sleep(0.005)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


def create_application(director: Director) -> Starlette:
    """Return the APIs and the control API of the director's simulation. Must be served with `BreakableProtocol`."""
    simulation = director.simulation

    @contextlib.asynccontextmanager
    async def lifespan(_application: Starlette) -> AsyncGenerator[None, None]:
        director.loop, director.thread = asyncio.get_running_loop(), threading.get_ident()
        simulation.settle()
        yield
        director.loop = None

    async def unknown(_request: Request, failure: Exception) -> Response:
        status = failure.status_code if isinstance(failure, HTTPException) else 500
        trace_id = secrets.token_hex(16)
        _, content = ApiError(2001 if status == 404 else 1003, status=status).linq(trace_id)
        return JSONResponse(content, status, headers={"X-Trace-ID": trace_id})

    return Starlette(
        routes=[*linq.routes(simulation), *chert.routes(simulation), *control.routes(director)],
        exception_handlers={HTTPException: unknown},
        lifespan=lifespan,
    )


def create_server(
    director: Director,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    started: Callable[[], None] = lambda: None,
) -> SimulationServer:
    """Build a server for the director's simulation, not started yet; it calls `started` when it answers requests."""
    return SimulationServer(
        uvicorn.Config(
            create_application(director),
            host=host,
            port=port,
            loop="asyncio",
            http=BreakableProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
        ),
        director.simulation,
        started,
    )
