"""The web process: the receiver's routes and the views behind one server, from its start to its end."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.routing import Route

from config.logging import configure_logging
from config.redis import connect, redis_address
from config.settings import Settings
from worker import metrics
from worker.processes.connections import bound_sending, bounded_protocol
from worker.processes.receiver import Receiver
from worker.processes.redis_start import RedisUnusableError, reach_redis
from worker.processes.stopping import handle_signals
from worker.store.store import Store
from worker.views.routes import Views

REDIS_SECONDS = 1.0  # Linq waits 10 s; a Redis that hangs is noticed well before

log = structlog.get_logger("web")


def make_app(settings: Settings, store: Store, views: Views | None = None) -> Starlette:
    """Build the web application over a store; with METRICS_PORT the metrics are at that port only.

    Pass `views` to be able to close them before the application.
    """
    receiver = Receiver(settings, store)
    views = views or Views(settings, store)

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        async with views.running():
            yield
        receiver.close()
        await store.redis.aclose()

    return Starlette(
        routes=[
            # With and without a slash at the end: Linq follows no redirects.
            *(Route(f"/webhooks/linq{end}", receiver.receive, methods=["POST"]) for end in ("", "/")),
            Route("/healthz", receiver.alive),
            Route("/readyz", receiver.ready),
            *([] if settings.metrics_port else [Route("/metrics", receiver.show_metrics)]),
            *views.routes,
        ],
        lifespan=running,
    )


def make_metrics_app(settings: Settings, store: Store) -> Starlette:
    """Build what METRICS_PORT serves: the metrics alone."""
    return Starlette(routes=[Route("/metrics", Receiver(settings, store).show_metrics)])


class _Server(uvicorn.Server):
    """uvicorn, but its signals are handled here: it would end with the signal's status instead of 0."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        bound_sending(listener for server in self.servers for listener in server.sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def run_web(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status: 1 if the address is taken or Redis refuses us."""
    configure_logging(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


def _make_server(app: Starlette, settings: Settings) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=bounded_protocol(),  # over h11, which bounds the length of heads; uvicorn's other parser does not
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, int(settings.shutdown_grace_seconds)),
        )
    )


async def _serve(settings: Settings) -> int:
    store = Store(connect(settings, socket_timeout=REDIS_SECONDS), settings)
    views = Views(settings, store)
    server = _make_server(make_app(settings, store, views), settings)
    metrics_server = _make_server(make_metrics_app(settings, store), settings)

    refused = False
    looked = asyncio.Event()

    def stop() -> None:
        server.should_exit = metrics_server.should_exit = True
        views.close()
        looked.set()

    async def reach() -> None:
        nonlocal refused
        try:
            await reach_redis(store, redis_address(settings), on_away=looked.set)
        except RedisUnusableError as error:
            log.error("redis_unusable", cause=error.cause, remedy=error.remedy)  # noqa: TRY400 (the text says it all)
            refused = True
            stop()
        else:
            looked.set()

    handle_signals(stop, settings.shutdown_grace_seconds)
    async with asyncio.TaskGroup() as group:
        reaching = group.create_task(reach())
        try:
            # A Redis that says no is all there is to tell; one that is away is not waited for, one that hangs not long.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * REDIS_SECONDS):
                    await looked.wait()
            if refused:
                return 1
            if not settings.linq_webhook_secrets:
                consequence = "deliveries are answered with 503; set LINQ_WEBHOOK_SECRET"
                log.warning("no_webhook_secret", consequence=consequence)
            if settings.metrics_port:
                try:
                    listener = socket.create_server(("127.0.0.1", settings.metrics_port))
                except OSError as error:
                    named = f"METRICS_PORT {settings.metrics_port}"
                    log.error("cannot_start", setting=named, error=error.strerror, remedy=metrics.PORT_REMEDY)  # noqa: TRY400 (the text says it all)
                    return 1
                group.create_task(metrics_server.serve([listener]))
            await server.serve()
        except SystemExit:
            return 1
        finally:
            metrics_server.should_exit = True
            reaching.cancel()
    return 0 if server.started and not refused else 1
