"""The Lua scripts: read once, called by their digest; redis-py loads them again if Redis has lost them (NOSCRIPT)."""

from pathlib import Path

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

_FOLDER = Path(__file__).with_name("lua")
# Functions that several scripts need are prepended to each: Redis offers no other way.
_PRELUDES = {
    "append_event": ("commit_decisions", "settle_pin"),
    "mark_counted": ("commit_decisions", "count_shares"),
    "note_answers": ("commit_decisions", "count_refusal"),
    "spend_budget": ("begin_pause", "check_pause", "claim_chats", "park_chat", "take_token", "throttle_budget"),
}


class Scripts:
    """The scripts, ready to be called on one connection pool; each has the name of its file."""

    def __init__(self, redis: Redis) -> None:
        self.begin_pause = _register(redis, "begin_pause")
        self.check_pause = _register(redis, "check_pause")
        self.claim_chats = _register(redis, "claim_chats")
        self.commit_decisions = _register(redis, "commit_decisions")
        self.count_refusal = _register(redis, "count_refusal")
        self.count_shares = _register(redis, "count_shares")
        self.finish_reconciliation = _register(redis, "finish_reconciliation")
        self.load_chats = _register(redis, "load_chats")
        self.park_chat = _register(redis, "park_chat")
        self.settle_pin = _register(redis, "settle_pin")
        self.start_jobs = _register(redis, "start_jobs")
        self.store_webhook = _register(redis, "store_webhook")
        self.take_token = _register(redis, "take_token")
        self.throttle_budget = _register(redis, "throttle_budget")
        self.wake_chats = _register(redis, "wake_chats")


def _register(redis: Redis, name: str) -> AsyncScript:
    preludes = (prelude for prelude, users in _PRELUDES.items() if name in users)
    return redis.register_script("".join((_FOLDER / f"{part}.lua").read_text() for part in (*preludes, name)))
