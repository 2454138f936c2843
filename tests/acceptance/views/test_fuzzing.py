"""Whatever is asked of the views, they answer as docs/reference/http.md describes, and keep working."""

import httpx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from config.settings import Settings
from tests.acceptance.views.conftest import TOKEN
from worker.processes.web import make_app
from worker.store.store import Store

names = st.sampled_from(["after", "types", "chat_id", "reference", "bbox", "limit", "token", "Limit", ""])
numbers = st.floats() | st.integers()
values = (
    st.text(max_size=200)
    | numbers.map(str)
    | st.tuples(numbers, numbers).map(lambda pair: f"{pair[0]}-{pair[1]}")
    | st.lists(numbers, min_size=3, max_size=5).map(lambda parts: ",".join(map(str, parts)))
    | st.lists(st.sampled_from(["location.updated", "location.pin.failed", "x", ""])).map(",".join)
    | st.uuids().map(str)
)
headers = st.dictionaries(
    st.sampled_from(["last-event-id", "origin", "cookie", "x-forwarded-proto", "accept"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(query=st.lists(st.tuples(names, values), max_size=4), own=headers, allowed=st.booleans())
@example(query=[("bbox", "1e999,-1e999,nan,-0.0")], own={}, allowed=True)
@example(query=[("bbox", "5e-324,-5e-324,5e-324,5e-324")], own={}, allowed=True)
@example(query=[("after", "18446744073709551615-18446744073709551615")], own={}, allowed=True)
async def test_any_question_is_answered(
    redis: Redis, prefix: str, query: list[tuple[str, str]], own: dict[str, str], *, allowed: bool
) -> None:
    chosen = Settings(view_tokens=(TOKEN,), key_prefix=prefix)
    transport = httpx.ASGITransport(app=make_app(chosen, Store(redis, chosen)))
    raw = [(name.encode(), text.encode("latin-1")) for name, text in own.items()]
    if allowed:
        raw.append((b"authorization", f"Bearer {TOKEN}".encode()))
    async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
        asked = httpx.QueryParams(tuple(query))
        latest = await client.get("/latest", params=asked, headers=raw)
        events = await client.head("/events", params=asked, headers=raw)
        page = await client.get("/map", params=asked.remove("token"), headers=raw)
    expected = {200, 400} if allowed else {401}
    assert {latest.status_code, events.status_code} <= expected
    assert page.status_code == (200 if allowed else 401)
