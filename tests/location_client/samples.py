"""Values that the tests of the client and of the command line share."""

from collections.abc import Awaitable, Callable

CHAT = "3f1c9a52-7d0e-4b8a-9a41-6c2b5e0d7f13"
SHARE = "7a1c0de2-9a3f-4a57-8f2e-11f3c1b7a901"

Publish = Callable[..., Awaitable[str]]
Answer = Callable[..., Awaitable[None]]
