"""Chert's endpoints."""

from __future__ import annotations

import json

from starlette.routing import Route

from simulator.exchange import Call, Reply, exchange
from simulator.failures import ApiError
from simulator.simulation import Simulation


def send_pin(call: Call) -> Reply:
    try:
        body = json.loads(call.body)
    except ValueError:
        raise ApiError(1004) from None
    if not isinstance(body, dict):
        raise ApiError(1004)
    return Reply(call.simulation.pins.send(body, call.now), 202)


def list_lines(call: Call) -> Reply:
    return Reply(call.simulation.pins.lines_wire())


def routes(simulation: Simulation) -> list[Route]:
    """Return the routes below `/api/v1`."""
    return [
        Route("/api/v1/locations", exchange(simulation, "pin", send_pin), methods=["POST"]),
        Route(
            "/api/v1/phone-numbers",
            exchange(simulation, "chert_phone_numbers", list_lines),
            methods=["GET"],
        ),
    ]
