"""`location-worker demo`: the whole service at work on one machine, without any account.

Redis, the worker and web processes, the jobs and the events are real. Linq is simulated, and so are the people, who
move along recorded journeys.
"""

import asyncio
import base64
import contextlib
import io
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.live import Live

from config.redis import connect
from config.settings import Settings, load_settings
from location_client import Job, LocationClient, Place
from simulator.embedded_redis import EmbeddedRedis, EmbeddedRedisError, watch_over
from simulator.harness import SimulatorServer
from simulator.movement import lively_offsets, metres, recording_names
from simulator.world import Habits
from worker.demo.view import Contact, Scene
from worker.store.store import Store
from worker.views.map import find_leaflet

SPEED = 20.0
"""Seconds of the story per real second: phones publish every 1 to 5 s instead of every 20 to 90."""

# Bounds of the interval between two reads at this speed: movement should show within ten seconds.
_PACE = {
    "MIN_POLL_SECONDS": "1",
    "MAX_POLL_SECONDS": "4",
    "STALE_AFTER_SECONDS": "60",
    "ACCEPT_WITHIN_SECONDS": "45",
}
_NAMES = ("Ada", "Ben", "Chloe", "Dan", "Elif", "Finn", "Grace", "Hugo", "Ines", "Jonas", "Kim", "Lea")
# Where people on the move are expected, and after how many seconds of their journey.
_PLACES = {0: ("bakery", 120.0), 1: ("library", 180.0), 2: ("market", 240.0), 4: ("harbour", 240.0), 6: ("park", 300.0)}
_MIN_RADIUS = 60.0  # metres
_LOOK_SECONDS = 90.0  # a phone publishes at least this often, and has to be seen inside
_REFRESH_SECONDS = 0.5
PICTURE_COLUMNS, PICTURE_LINES = 112, 32
_LINE_EVERY_SECONDS = 10.0
_START_WITHIN_SECONDS = 30.0
_STOP_WITHIN_SECONDS = 10.0


_ABOUT = (
    f"Contacts are asked, answer and move; a second here is {SPEED:g} of theirs. Their ways were recorded, then moved "
    "to another city and rotated: nobody walked where the map shows them. Ctrl-C ends it."
)


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


def run_demo(seconds: float | None, people: int, picture: Path | None = None) -> int:
    """Run until Ctrl-C or for `seconds`, then summarize what happened; return the exit status.

    `picture`: a file for an SVG of the last view. Raises SettingsError.
    """
    settings = load_settings("demo")
    try:
        return asyncio.run(_run(settings, seconds, people, picture))
    except (DemoError, EmbeddedRedisError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1


async def _run(settings: Settings, seconds: float | None, people: int, picture: Path | None) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    console = Console()
    until = None if seconds is None else time.monotonic() + seconds
    prefix = f"demo-{secrets.token_hex(4)}"
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="location-demo-")))
        url = settings.redis_url or stack.enter_context(EmbeddedRedis()).url
        address = _web_address(settings)
        own = settings.model_copy(
            update={
                **address,
                "redis_url": url,
                "key_prefix": prefix,
                "queue_name": f"{prefix}:jobs",
                "view_tokens": settings.view_tokens or (secrets.token_urlsafe(18),),
                "linq_webhook_secrets": ("whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),),
            }
        )
        simulator = await stack.enter_async_context(SimulatorServer(habits=Habits(speed=SPEED)))
        redis = await stack.enter_async_context(connect(own))
        stack.push_async_callback(_clear, own)
        children = Children(_environment(own, simulator), folder)
        stack.callback(children.stop)
        children.start("web")
        children.start("worker")
        scene = Scene(_cast(simulator, people))
        client = LocationClient(redis, key_prefix=prefix)
        web = await _answering_web(own, children)
        say(console, f"Map: {web}/map?token={own.view_tokens[0]}")
        if find_leaflet() is None:
            say(console, "The map itself is missing: pip install 'location-worker[map]'")
        simulator.subscribe(f"{web}/webhooks/linq", secret=own.linq_webhook_secrets[0])
        if settings.redis_url is None:
            say(console, f"For details, in another terminal: REDIS_URL={url} KEY_PREFIX={prefix} location-worker tail")
        say(console, _ABOUT)
        await client.queue_many(
            Job.request_location(chat_id=contact.chat_id, reference=contact.name, places=contact.places)
            for contact in scene.contacts.values()
        )
        stage = Stage(scene, client, Store(redis, own), simulator, children)
        await (stage.live if console.is_terminal else stage.plain)(console, stop, until)
        if picture is not None:
            _draw(scene, picture)
    for line in scene.summary():
        say(console, line)
    return 0


def _draw(scene: Scene, picture: Path) -> None:
    """Write the view as an SVG of a terminal of the usual width."""
    console = Console(record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(scene.view(time.time(), width=PICTURE_COLUMNS, height=PICTURE_LINES))
    drawn = console.export_svg(title="make demo")
    # rich would make the reader's browser fetch a font from another site.
    picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL), encoding="utf-8")


def say(console: Console, text: str) -> None:
    """Print a line unchanged."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    # Whoever reads a pipe wants each line at once, too.
    console.file.flush()


class Children:
    """The processes of the demo. Their logs go to files; the end of one is shown if its process dies."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._watchdogs: list[subprocess.Popen[bytes]] = []

    def start(self, command: str) -> None:
        """Start a command of this project."""
        with (self._folder / f"{command}.log").open("wb") as log:
            # A session of its own: Ctrl-C reaches only the demo, which ends its children in order.
            self._processes[command] = subprocess.Popen(  # noqa: S603  # this interpreter, this project
                [sys.executable, "-m", "worker", command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watchdogs.append(watch_over(self._processes[command].pid, self._folder))

    def check(self) -> None:
        """Raise DemoError where one has ended by itself."""
        for command, process in self._processes.items():
            if process.poll() is not None:
                last = (self._folder / f"{command}.log").read_text(errors="replace").splitlines()[-20:]
                raise DemoError("\n".join([f"`location-worker {command}` ended ({process.returncode}):", *last]))

    def stop(self) -> None:
        """Ask all of them to end, and wait."""
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + _STOP_WITHIN_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for watchdog in self._watchdogs:
            watchdog.kill()
            watchdog.communicate()


class Stage:
    """Keep the scene up to date and show it."""

    def __init__(
        self, scene: Scene, client: LocationClient, store: Store, simulator: SimulatorServer, children: Children
    ) -> None:
        self._scene = scene
        self._client = client
        self._store = store
        self._simulator = simulator
        self._children = children
        self._answered = 0
        self._event_id = "0"

    async def live(self, console: Console, stop: asyncio.Event, until: float | None) -> None:
        """Keep redrawing the table."""
        with Live(console=console, auto_refresh=False) as live:
            while not _over(stop, until):
                await self._refresh()
                size = console.size
                live.update(self._scene.view(time.time(), width=size.width, height=size.height), refresh=True)
                await _pause(stop)

    async def plain(self, console: Console, stop: asyncio.Event, until: float | None) -> None:
        """Print the events as lines, and from time to time the state of everybody."""
        next_line = time.monotonic() + _LINE_EVERY_SECONDS
        while not _over(stop, until):
            for line in await self._refresh():
                say(console, line)
            if time.monotonic() >= next_line:
                next_line += _LINE_EVERY_SECONDS
                say(console, f"-- {self._scene.line(time.time())}")
            await _pause(stop)

    async def _refresh(self) -> list[str]:
        self._children.check()
        lines = []
        async for event in self._client.events(self._event_id, block=0):
            self._event_id = event.stream_id
            lines.append(self._scene.take(event))
        for answer in self._simulator.answers(endpoint="read", after=self._answered):
            self._answered = answer.number
            if answer.chat_id in self._scene.contacts:
                self._scene.contacts[answer.chat_id].polls += 1
        for contact in self._scene.contacts.values():
            live = (await self._store.shares.load(contact.chat_id)).live
            contact.rule = live.rule if live is not None else ""
        return lines


def _over(stop: asyncio.Event, until: float | None) -> bool:
    return stop.is_set() or (until is not None and time.monotonic() >= until)


async def _pause(stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), _REFRESH_SECONDS)


def _web_address(settings: Settings) -> dict[str, str | int]:
    """Return where `web` listens: where the settings say so, else on a free port."""
    if "port" in settings.model_fields_set:
        return {}
    with socket.create_server(("127.0.0.1", 0)) as free:
        return {"port": free.getsockname()[1]}


async def _answering_web(settings: Settings, children: Children) -> str:
    """Wait until `web` answers; return its address as a browser on this machine has it. Raises DemoError."""
    every = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (nothing is bound here)
    host = every.get(settings.host, settings.host)
    address = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    deadline = time.monotonic() + _START_WITHIN_SECONDS
    async with httpx.AsyncClient(trust_env=False) as http:
        while time.monotonic() < deadline:
            children.check()
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"{address}/healthz")).status_code == 200:
                    return address
            await asyncio.sleep(0.05)
    raise DemoError(f"`location-worker web` did not answer at {address} within {_START_WITHIN_SECONDS:g} s")


def _environment(settings: Settings, simulator: SimulatorServer) -> dict[str, str]:
    return {
        **os.environ,
        **_PACE,
        "REDIS_URL": str(settings.redis_url),
        "KEY_PREFIX": settings.key_prefix,
        "QUEUE_NAME": settings.queue_name,
        "LINQ_API_V3_API_KEY": simulator.api_key,
        "LINQ_API_V3_BASE_URL": simulator.base_url,
        "CHERT_SIGNING_SECRET": simulator.chert_secret,
        "CHERT_BASE_URL": simulator.chert_base_url,
        "LINQ_WEBHOOK_SECRET": settings.linq_webhook_secrets[0],
        "HOST": settings.host,
        "PORT": str(settings.port),
        "VIEW_TOKEN": ",".join(settings.view_tokens),
        "METRICS_PORT": "0",
        "SHUTDOWN_GRACE_SECONDS": "5",
    }


def _cast(simulator: SimulatorServer, people: int) -> dict[str, Contact]:
    """Add people of all habits: most accept within seconds; others share already, only for a while, or never."""
    names = recording_names()
    contacts = {}
    for number in range(people):
        # 5 and 7 come around once in a dozen: one who never answers, one whose chat cannot carry the
        # question.
        role = number % 12
        journey = names[number % len(names)]
        offsets = lively_offsets(journey)
        handle = f"+1202555{100 + number:04}"
        chat_id = simulator.add_person(
            handle,
            recording=journey,
            offset=offsets[number * 5 % len(offsets)],
            accepts_after=None if role == 5 else SPEED * (0.5 + number * 5 % 12),
            sharing=role == 3,
            shares_for=SPEED * 25 if role == 8 else None,
            service="SMS" if role == 7 else "iMessage",
        )
        name = _NAMES[role] + (f" {number // 12 + 1}" if number >= 12 else "")
        contacts[chat_id] = Contact(name, handle, chat_id)
        if role in _PLACES:
            contacts[chat_id].places.append(_place(simulator, chat_id, *_PLACES[role]))
    return contacts


def _place(simulator: SimulatorServer, chat_id: str, name: str, seconds: float) -> Place:
    """Return a place on a contact's way, large enough that the contact is seen inside."""
    before, centre, after = (
        simulator.place_ahead(chat_id, moment)
        for moment in (seconds - _LOOK_SECONDS / 2, seconds, seconds + _LOOK_SECONDS / 2)
    )
    radius = round(max(_MIN_RADIUS, metres(before, centre), metres(centre, after)))
    return Place(name=name, latitude=centre.latitude, longitude=centre.longitude, radius=radius)


async def _clear(settings: Settings) -> None:
    """Remove the demo's keys from a Redis that was there before."""
    async with connect(settings) as redis:
        async for key in redis.scan_iter(match=f"{settings.key_prefix}:*", count=1000):
            await redis.unlink(key)
