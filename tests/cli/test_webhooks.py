"""`location-worker webhooks` against the simulator, and its sample against a receiver."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import Result
from standardwebhooks import Webhook

from simulator.harness import SimulatorServer

Run = Callable[..., Result]
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://hooks.example.org/webhooks/linq"


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        monkeypatch.setenv("LINQ_API_V3_API_KEY", simulator.api_key)
        monkeypatch.setenv("LINQ_API_V3_BASE_URL", simulator.base_url)
        yield simulator


def test_a_subscription_is_registered_listed_and_deleted(run: Run, simulator: SimulatorServer) -> None:
    registered = run("webhooks", "register", URL)
    assert registered.exit_code == 0
    (subscription,) = json.loads(run("webhooks", "list", "--json").stdout)
    assert subscription["target_url"] == f"{URL}?version=2026-02-03"
    assert sorted(subscription["subscribed_events"]) == [
        "api_token.expiry_scheduled",
        "environment.line_moved",
        "location.sharing.started",
        "location.sharing.stopped",
        "phone_number.status_updated",
        "webhook_subscription.disabled",
    ]
    assert f"subscription {subscription['id']}" in registered.stdout
    assert "LINQ_WEBHOOK_SECRET=whsec_" in registered.stdout
    assert subscription["id"] in run("webhooks", "list").stdout
    assert run("webhooks", "delete", subscription["id"]).exit_code == 0
    assert json.loads(run("webhooks", "list", "--json").stdout) == []


def test_where_linq_knows_no_events_of_the_account_the_location_events_are_enough(
    run: Run, simulator: SimulatorServer
) -> None:
    simulator.fault("error", endpoint="subscriptions", status=400, code=1005)
    registered = run("webhooks", "register", URL, "--json")
    assert registered.exit_code == 0
    assert "only to the location events" in registered.stderr
    made = json.loads(registered.stdout)
    assert made["subscribed_events"] == ["location.sharing.started", "location.sharing.stopped"]


def test_a_version_that_was_chosen_stays(run: Run, simulator: SimulatorServer) -> None:
    made = json.loads(run("webhooks", "register", f"{URL}?a=b&version=2025-01-01", "--json").stdout)
    assert made["target_url"] == f"{URL}?a=b&version=2025-01-01"
    assert made["signing_secret"].startswith("whsec_")
    other = json.loads(run("webhooks", "register", f"{URL}?a=b", "--json").stdout)
    assert other["target_url"] == f"{URL}?a=b&version=2026-02-03"


def test_what_linq_refuses_is_told(run: Run, simulator: SimulatorServer) -> None:
    result = run("webhooks", "delete", "11111111-2222-3333-4444-555555555555")
    assert result.exit_code == 1
    assert "HTTP 404, code 2010" in result.stderr


def test_without_a_key_the_variable_is_named(run: Run) -> None:
    result = run("webhooks", "list")
    assert result.exit_code == 1
    assert "LINQ_API_V3_API_KEY is not set" in result.stderr


class Receiver(HTTPServer):
    """Verifies a delivery as Linq's library does, and answers with a set status."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.url = f"http://127.0.0.1:{self.server_port}/webhooks/linq"
        self.deliveries: list[dict[str, object]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.deliveries.append(Webhook(SECRET).verify(body, headers))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""


@pytest.fixture
def receive() -> Iterator[Callable[[int], Receiver]]:
    receivers: list[tuple[Receiver, threading.Thread]] = []

    def begin(status: int) -> Receiver:
        receiver = Receiver(status)
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        receivers.append((receiver, thread))
        return receiver

    yield begin
    for receiver, thread in receivers:
        receiver.shutdown()
        receiver.server_close()
        thread.join()


def test_the_sample_is_signed_and_about_nobody(
    run: Run, receive: Callable[[int], Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINQ_WEBHOOK_SECRET", SECRET)
    receiver = receive(204)
    result = run("webhooks", "test", "--url", receiver.url)
    assert (result.exit_code, result.stderr) == (0, "")
    (delivery,) = receiver.deliveries
    assert delivery["event_type"] == "location.sharing.stopped"
    assert ".invalid" in str(delivery["data"])


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "has a different LINQ_WEBHOOK_SECRET"),
        (404, "the route is /webhooks/linq"),
        (503, "cannot reach Redis"),
        (200, "expected 204"),
    ],
)
def test_what_the_endpoint_answers_is_explained(
    run: Run, receive: Callable[[int], Receiver], monkeypatch: pytest.MonkeyPatch, status: int, told: str
) -> None:
    monkeypatch.setenv("LINQ_WEBHOOK_SECRET", SECRET)
    result = run("webhooks", "test", "--url", receive(status).url)
    assert result.exit_code == 1
    assert told in result.stderr


def test_an_endpoint_that_is_not_there_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINQ_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("PORT", "1")
    result = run("webhooks", "test")
    assert result.exit_code == 1
    assert "is `location-worker web` running there?" in result.stderr


def test_without_a_secret_there_is_nothing_to_sign_with(run: Run) -> None:
    result = run("webhooks", "test")
    assert result.exit_code == 1
    assert "LINQ_WEBHOOK_SECRET is not set" in result.stderr
