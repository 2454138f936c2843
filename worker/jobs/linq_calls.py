"""Calls to Linq other than reads and prompts: within the request budget; a refused account pauses everything."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import msgspec

from worker.domain.observation import Suspended
from worker.jobs.services import Services
from worker.linq.client import Chat, LinqClient, LinqError
from worker.polling.account import pause_account, resume_account
from worker.store.chats import KnownChat

PATIENCE_SECONDS = 5.0  # how long a job waits for a token before it is queued again
PAUSED_SECONDS = 60.0  # one probe a minute
TRANSIENT_SECONDS = 2.0  # after a fault without Retry-After
PROXY_WAITS_SECONDS = (
    1.0,
    2.0,
    4.0,
)  # as Linq advises (docs/reference/linq.md, Rate limits); then the call is given up
MAX_WAIT_SECONDS = 3600.0  # the longest Retry-After that is obeyed: the job itself lives for only a day

Answer = TypeVar("Answer")


class NotNowError(RuntimeError):
    """The call cannot be made now: no token, paused, or Linq does not answer; try again after `seconds`.

    `refusal` is what something between us and Linq answered in Linq's place.
    """

    def __init__(self, seconds: float, *, refusal: LinqError | None = None) -> None:
        super().__init__(f"Linq cannot be asked now; trying again in {seconds:g} s")
        self.seconds = seconds
        self.refusal = refusal


async def call_linq(services: Services, command: Callable[[LinqClient], Awaitable[Answer]]) -> Answer:
    """Make one call within the budget. Raises NotNowError for what may succeed later, LinqError for a refusal.

    A 401 or 403/2011 pauses everything, and may succeed later, too: once a person has changed the key.
    """
    linq = services.need_linq()
    probe = await _take_token(services)
    try:
        answer = await command(linq)
    except NotNowError:
        if not probe:
            raise
        # Before the second request of one command: the first has succeeded.
        await resume_account(services.store.account_pause)
        raise NotNowError(TRANSIENT_SECONDS) from None
    except LinqError as error:
        if error.status == 401 or (error.status, error.code) == (403, 2011):
            await pause_account(services.store.account_pause, Suspended(error.status, error.code))
            raise NotNowError(PAUSED_SECONDS) from None
        if error.transient:
            seconds = min(error.retry_after or TRANSIENT_SECONDS, MAX_WAIT_SECONDS)
            raise NotNowError(seconds, refusal=error if error.by_proxy else None) from None
        if probe:
            await resume_account(services.store.account_pause)
        raise
    if probe:
        await resume_account(services.store.account_pause)
    return answer


async def _take_token(services: Services) -> bool:
    """Take a token of the budget; return whether it is that of a probe during a pause. Raises NotNowError."""
    budget = services.store.budget
    waited = 0.0
    while (seconds := await budget.take()) is not None:
        if seconds == math.inf and await budget.take_probe():
            return True
        if waited + seconds > PATIENCE_SECONDS:
            raise NotNowError(min(seconds, PAUSED_SECONDS))
        await asyncio.sleep(seconds)
        waited += seconds
    return False


async def find_chats(services: Services, *, to: str, from_: str | None = None) -> list[Chat]:
    """Return all chats of a contact, and of a line of ours if given; each page of the list costs a token.

    Raises as call_linq.
    """
    return await call_linq(
        services,
        lambda linq: linq.find_chats(to=to, from_=from_, before_next=lambda: _take_token(services)),
    )


@contextlib.contextmanager
def bounded_tries(job_try: int) -> Iterator[None]:
    """Let a job retry what something between us and Linq refuses; the fourth try is the last.

    Raises NotNowError, with the wait before the next try, and LinqError after the last one.
    """
    try:
        yield
    except NotNowError as error:
        if error.refusal is None:
            raise
        if job_try > len(PROXY_WAITS_SECONDS):
            raise error.refusal from None
        raise NotNowError(PROXY_WAITS_SECONDS[job_try - 1]) from None


async def know_chat(services: Services, chat_id: str) -> KnownChat:
    """Return line, contacts and kind of a chat; ask Linq unless they are remembered. Raises as call_linq."""
    known = await services.store.chats.get(chat_id)
    if known is not None:
        return known
    return await remember(services, await call_linq(services, lambda linq: linq.get_chat(chat_id)))


async def find_direct_chat(services: Services, contact: str, line: str) -> str | None:
    """Return the 1:1 chat of a contact and a line, None if there is none. Raises as call_linq."""
    remembered = await services.store.chats.between(contact, line)
    if remembered is not None:
        return remembered
    chats = await find_chats(services, to=contact, from_=line)
    direct = [
        chat
        for chat in (_with_line(chat, line) for chat in chats)
        if not chat.is_group and chat.contacts in ([contact], []) and chat.line in (line, None)
    ]
    if not direct:
        return None
    # A pair has one 1:1 chat for each service; only iMessage carries a location.
    best = min(direct, key=lambda chat: chat.service != "iMessage")
    await remember(services, best, line)
    await services.store.chats.put_between(contact, line, best.id)
    return best.id


def _with_line(chat: Chat, line: str) -> Chat:
    """Return the chat with this line of ours, found by its number if Linq does not mark which participant we are."""
    if chat.line is not None or line not in chat.contacts:
        return chat
    return msgspec.structs.replace(chat, line=line, contacts=[handle for handle in chat.contacts if handle != line])


async def remember(services: Services, chat: Chat, line: str | None = None) -> KnownChat:
    """Remember a chat, with this line of ours if Linq does not name it; return what is remembered."""
    line = chat.line or line
    return await services.store.chats.put(chat.id, is_group=chat.is_group, line=line, contacts=chat.contacts)
