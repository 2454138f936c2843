"""The world behind the APIs: people, chats and shares. Knows neither HTTP nor the clock; `now` is passed in.

All `now` are seconds since 1970 UTC and never go back. Durations given to the world are seconds of the story: with a
speed of 20 an hour of the story passes in three minutes. Times that the world shows are always real ones.
"""

from __future__ import annotations

import heapq
import math
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.chats import Chat
from simulator.clock import rfc3339
from simulator.failures import ApiError
from simulator.movement import Cadence
from simulator.people import HANDLE, Person, Share, feature, journey_of, normal_handle

LINE = "+14155550100"


@dataclass(slots=True)
class Habits:
    """What the reference leaves open, and how fast things happen. Durations in seconds of the story.

    `already_sharing_code`: code of the 409 for a contact who shares already; None leaves it out.
    `live_after`: from an old stored position, where one is shown first, to the live one.
    `prompt_interval`: least time between two prompts in one chat, else 429. `creating_for`: how long a new chat answers
    409/2009. `stop_takes`: from an accepted DELETE until the contact's phone carries it out. `lingers_for`: how long a
    last position stays listed after the end. `announces_expiry`: whether `stopped` comes when `ends_at` passes.
    """

    speed: float = 1.0
    first_position_after: float = 1.5
    live_after: float = 4.0
    prompt_interval: float = 30.0
    already_sharing_code: int | None = 2030
    creating_for: float = 2.0
    stop_takes: float = 0.0
    lingers_for: float = 0.0
    announces_expiry: bool = True
    prompt_status: int = 200
    cadence: Cadence = field(default_factory=Cadence)


@dataclass(frozen=True, slots=True)
class Event:
    """Something to announce by webhook. `line`: the own line that it concerns."""

    event_type: str
    data: dict[str, Any]
    created_at: float
    line: str


class World:
    """People, chats and shares, and what happens to them as time passes."""

    def __init__(self, habits: Habits | None = None, lines: tuple[str, ...] = (LINE,)) -> None:
        self.habits = habits or Habits()
        self.lines = lines
        self.people: dict[str, Person] = {}
        self.chats: dict[str, Chat] = {}
        self.shares: dict[tuple[str, str], Share] = {}
        self.outbox: deque[Event] = deque()
        self.refused_lines: dict[str, int] = {}
        self.lost_lines: dict[str, int] = {}
        self._by_handle: dict[str, list[Chat]] = {}
        self._pending: set[tuple[str, str]] = set()
        self._ended: list[Share] = []
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._agenda_length = 0

    def advance(self, now: float) -> None:
        """Let everything happen that is due by `now`: acceptances, ends."""
        while self._agenda and self._agenda[0][0] <= now:
            when, _, happen = heapq.heappop(self._agenda)
            happen(when)

    def next_due(self) -> float | None:
        """Return when something happens next, or None."""
        return self._agenda[0][0] if self._agenda else None

    def add_person(self, person: Person) -> Person:
        """Add or replace a contact. Raises ValueError for what is not a handle."""
        for handle in (person.handle, person.sharing_handle):
            if not HANDLE.fullmatch(handle):
                raise ValueError(f"{handle!r} is not a handle: E.164 such as +12025550147, or an e-mail address")
        self.people[normal_handle(person.handle)] = person
        return person

    def add_chat(
        self,
        handles: list[str],
        now: float,
        *,
        chat_id: str | None = None,
        line: str | None = None,
        service: str | None = "iMessage",
        is_group: bool | None = None,
    ) -> Chat:
        """Add a chat of a line with these contacts; more than one make a group unless said otherwise."""
        group = len(handles) > 1 if is_group is None else is_group
        chat = Chat((chat_id or str(uuid.uuid4())).lower(), line or self.lines[0], list(handles), service, group, now)
        self.chats[chat.id] = chat
        for handle in handles:
            self._by_handle.setdefault(normal_handle(handle), []).append(chat)
        return chat

    def add_participant(self, chat_id: str, handle: str) -> None:
        """Have the contact join (or come back to) a group."""
        chat = self.chats[chat_id]
        chat.left.discard(handle)
        if handle not in chat.handles:
            chat.handles.append(handle)
            self._by_handle.setdefault(normal_handle(handle), []).append(chat)

    def chat(self, chat_id: str) -> Chat:
        """Return the chat.

        Raises ApiError 400/1002 if the id is not a UUID, 404/2001 if there is no such chat, and the line's own code if
        the key no longer reaches it.
        """
        chat = self.chats.get(chat_id.lower())
        if chat is None or chat.deleted:
            try:
                uuid.UUID(chat_id)
            except ValueError:
                raise ApiError(1002) from None
            raise ApiError(2001)
        if chat.line in self.lost_lines:
            raise ApiError(self.lost_lines[chat.line])
        return chat

    def find_chats(self, line: str | None, handle: str | None) -> list[Chat]:
        """Return the chats of that line with that contact, oldest first; None: any."""
        chats = self.chats.values() if handle is None else self._by_handle.get(normal_handle(handle), [])
        return [
            chat
            for chat in chats
            if not chat.deleted and line in (None, chat.line) and chat.line not in self.lost_lines
        ]

    def create_chat(self, line: str, handles: list[str], service: str | None, now: float) -> tuple[Chat, bool]:
        """Return the chat of exactly these participants, and whether it is new."""
        if line not in self.lines:
            raise ApiError(2006)
        wanted = sorted(map(normal_handle, handles))
        for chat in self.find_chats(line, handles[0]):
            if sorted(map(normal_handle, chat.handles)) == wanted:
                return chat, False
        chat = self.add_chat(handles, now, line=line, service=service or "iMessage")
        chat.ready_at = now + self.habits.creating_for / self.habits.speed
        return chat, True

    def request(self, chat_id: str, now: float) -> None:
        """Prompt the contact. Raises ApiError."""
        chat = self.chat(chat_id)
        refused = self._request_refusal(chat, now)
        if refused is not None:
            raise refused
        interval = self.habits.prompt_interval / self.habits.speed
        if chat.prompted_at is not None and now < chat.prompted_at + interval:
            wait = chat.prompted_at + interval - now
            raise ApiError(1007, message=f"Rate limited. Try again in {math.ceil(wait)} seconds.", retry_after=wait)
        chat.prompts += 1
        chat.prompted_at = now
        person = self.people.get(normal_handle(chat.handles[0]))
        key = (normal_handle(chat.handles[0]), chat.line)
        if person is None or person.accepts_after is None or key in self._pending:
            return
        self._pending.add(key)
        self._at(now + person.accepts_after / self.habits.speed, lambda when: self._accept(key, chat, when))
        self.advance(now)

    def _request_refusal(self, chat: Chat, now: float) -> ApiError | None:
        refusals = (
            (now < chat.ready_at, 2009),
            (not chat.available, 2013),
            (chat.is_group, 2016),
            (chat.service not in ("iMessage", None), 2017),
            (chat.refuses_with is not None, chat.refuses_with),
            (chat.line in self.refused_lines, self.refused_lines.get(chat.line)),
        )
        for applies, code in refusals:
            if applies:
                return ApiError(code)
        if self._share_of(chat.handles[0], chat.line) is not None:
            return ApiError(self.habits.already_sharing_code, status=409, message="The recipient is already sharing")
        return None

    def read(self, chat_id: str, now: float) -> list[Any]:
        """Return the features of a chat: one for each participant whose share is readable here."""
        chat = self.chat(chat_id)
        if not chat.available:
            raise ApiError(2013)
        if chat.features is not None:
            return chat.features
        features = []
        for handle in chat.participants():
            share = self.shares.get((normal_handle(handle), chat.line)) or self._lingering(handle, chat, now)
            position = share.position(now, self.habits.speed) if share else None
            if position is not None:
                features.append(feature(handle, position))
        return features

    def stop(self, chat_id: str, handle: str, now: float) -> None:
        """End a contact's share on Linq's request. Raises ApiError."""
        chat = self.chat(chat_id)
        if not HANDLE.fullmatch(handle):
            raise ApiError(1002)
        key = (normal_handle(handle), chat.line)
        share = self.shares.get(key)
        if share is None:
            raise ApiError(2001, message="The contact is not sharing")
        self._at(now + self.habits.stop_takes / self.habits.speed, lambda when: self._end(key, share, when))
        self.advance(now)

    def start_sharing(
        self, handle: str, now: float, *, line: str | None = None, chat_id: str | None = None, since: float = 0.0
    ) -> Share:
        """Have the contact begin to share with a line; a running share gets a new end.

        `since`: real seconds for which the share has been running unnoticed; its planned end counts from `now`.
        """
        person = self.people[normal_handle(handle)]
        line = line or self.lines[0]
        key = (normal_handle(person.sharing_handle), line)
        ends_at = None if person.shares_for is None else now + person.shares_for / self.habits.speed
        share = self.shares.get(key)
        if share is None:
            shown_at = now - since + self.habits.first_position_after / self.habits.speed
            live_after = 0.0 if person.stored_age is None else self.habits.live_after / self.habits.speed
            share = Share(
                person,
                person.sharing_handle,
                line,
                chat_id,
                now - since,
                ends_at,
                shown_at + live_after,
                shown_at,
                journey=journey_of(person, self.habits.cadence),
            )
            self.shares[key] = share
        share.ends_at = ends_at
        if ends_at is not None:
            self._at(ends_at, lambda when: self._expire(key, share, ends_at, when))
        times = {"began_at": rfc3339(share.began_at), "ends_at": None if ends_at is None else rfc3339(ends_at)}
        self._announce("location.sharing.started", share, times, now)
        return share

    def stop_sharing(self, handle: str, now: float, *, line: str | None = None, announce: bool = True) -> None:
        """End the contact's share now, in every chat. Raises KeyError if there is none."""
        person = self.people.get(normal_handle(handle))
        key = (normal_handle(person.sharing_handle if person else handle), line or self.lines[0])
        share = self.shares.pop(key)
        share.ended_at = now
        if self.habits.lingers_for:
            self._ended.append(share)
        if announce:
            times = {"began_at": rfc3339(share.began_at), "ended_at": rfc3339(now)}
            self._announce("location.sharing.stopped", share, times, now)

    def _share_of(self, handle: str, line: str) -> Share | None:
        person = self.people.get(normal_handle(handle))
        return self.shares.get((normal_handle(person.sharing_handle if person else handle), line))

    def _lingering(self, handle: str, chat: Chat, now: float) -> Share | None:
        lingers_for = self.habits.lingers_for / self.habits.speed
        self._ended = [share for share in self._ended if (share.ended_at or 0) + lingers_for > now]
        for share in reversed(self._ended):
            if (normal_handle(share.shared_by), share.line) == (normal_handle(handle), chat.line):
                return share
        return None

    def _accept(self, key: tuple[str, str], chat: Chat, when: float) -> None:
        self._pending.discard(key)
        if self._share_of(*key) is None:
            self.start_sharing(key[0], when, line=chat.line, chat_id=chat.id)

    def _end(self, key: tuple[str, str], share: Share, when: float) -> None:
        if self.shares.get(key) is share:
            self.stop_sharing(share.shared_by, when, line=share.line)

    def _expire(self, key: tuple[str, str], share: Share, ends_at: float, when: float) -> None:
        if self.shares.get(key) is share and share.ends_at == ends_at:
            self.stop_sharing(share.shared_by, when, line=share.line, announce=self.habits.announces_expiry)

    def _announce(self, event_type: str, share: Share, times: Mapping[str, str | None], now: float) -> None:
        data = {"shared_by": share.shared_by, "shared_with": share.line, **times, "chat_id": share.chat_id}
        self.outbox.append(Event(event_type, data, now, share.line))

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        self._agenda_length += 1
        heapq.heappush(self._agenda, (when, self._agenda_length, happen))
