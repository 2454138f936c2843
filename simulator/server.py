"""The HTTP server around a simulation."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._report_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._simulation.close()
        await super().shutdown(sockets)


def create_application(director: Director) -> Starlette:
    """Return the APIs and the control API of the director's simulation. Must be served with `BreakableProtocol`."""
    simulation = director.simulation

    @asynccontextmanager
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
            timeout_graceful_shutdown=2,
        ),
        director.simulation,
        started,
    )
