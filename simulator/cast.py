"""A cast for a demonstration: contacts of many habits on recorded journeys."""

from __future__ import annotations

import uuid

from simulator.chats import CHAT_NAMESPACE
from simulator.director import Director
from simulator.movement import recording, recording_names

ACCEPTS_AFTER: tuple[float | None, ...] = (5, 60, 240, 0, None, 20)
"""Seconds of the story after which each contact in turn accepts a prompt; None: never."""
SHARES_ALREADY, SHARES_FOR_A_WHILE = 3, 5
"""The contacts, counted as above, who share before anyone asks, and for half an hour only."""


def add_cast(director: Director, count: int) -> list[str]:
    """Add that many contacts, each with a 1:1 iMessage chat; return the ids of the chats."""
    names = recording_names()
    chats = []
    for number in range(count):
        name = names[number % len(names)]
        habit = number % len(ACCEPTS_AFTER)
        chats.append(
            director.add_person(
                # The same ids every time, so that commands which name a chat can be repeated.
                chat_id=str(uuid.uuid5(CHAT_NAMESPACE, f"contact {number + 1}")),
                recording=name,
                # Spread over the recording, so that no two contacts walk in step.
                offset=(number * 977) % recording(name).times[-1],
                accepts_after=ACCEPTS_AFTER[habit],
                sharing=habit == SHARES_ALREADY,
                shares_for=1800 if habit == SHARES_FOR_A_WHILE else None,
            )
        )
    return chats
