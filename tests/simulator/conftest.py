from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from simulator.harness import SimulatorServer
from simulator.world import Habits


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    """Return a simulator where first positions and new chats take no time."""
    habits = Habits(first_position_after=0.0, creating_for=0.0, prompt_interval=30.0)
    with SimulatorServer(habits=habits, lines=("+14155550100", "+14155550101")) as server:
        yield server


@pytest.fixture
def linq(simulator: SimulatorServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {simulator.api_key}"}
    with httpx.Client(base_url=simulator.base_url, headers=headers, timeout=5, trust_env=False) as client:
        yield client
