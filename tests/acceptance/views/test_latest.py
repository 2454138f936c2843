"""GET /latest as docs/reference/http.md describes it."""

import httpx
import pytest
from redis.asyncio import Redis

from simulator.embedded_redis import EmbeddedRedis
from tests.acceptance.views.conftest import viewer_of
from tests.support.server_sent import event_source
from tests.support.stored import begin, new_chat, observe, open_store, somewhere
from tests.support.web import WebProcesses
from worker.domain.timestamp import NANOSECONDS, format_time
from worker.store.store import Store
from worker.text import RULES

BERLIN, SUVA, AUCKLAND = (13.4, 52.5), (178.4, -18.1), (174.8, -36.8)


@pytest.fixture
async def store(redis: Redis, redis_url: str, prefix: str) -> Store:
    return open_store(redis, redis_url, prefix)


async def share(store: Store, handle: str, place: tuple[float, float], chat_id: str | None = None) -> str:
    """Publish a position as the worker does; return its chat."""
    if chat_id is None:
        chat_id = new_chat()
        await begin(store, chat_id)
    await observe(store, chat_id, somewhere(handle, updated_at=1_791_797_478, longitude=place[0], latitude=place[1]))
    return chat_id


async def handles(client: httpx.AsyncClient, query: str = "") -> set[str]:
    reply = await client.get(f"/latest{query}")
    assert reply.status_code == 200
    return {feature["properties"]["handle"] for feature in reply.json()["features"]}


async def test_it_is_a_feature_collection_of_what_was_published_last(viewer: httpx.AsyncClient, store: Store) -> None:
    empty = (await viewer.get("/latest")).json()
    assert empty == {"type": "FeatureCollection", "last_event_id": "0-0", "features": [], "shares": {}}
    chat_id = await share(store, "+12025550100", BERLIN)
    reply = await viewer.get("/latest")
    assert reply.headers["content-type"] == "application/geo+json"
    found = reply.json()
    async with event_source(viewer, "/events?after=0") as source:
        events = await source.take(2)
    assert found.pop("shares").keys() == {chat_id}
    assert found == {
        "type": "FeatureCollection",
        "last_event_id": events[1].last_event_id,
        "features": [events[1].data["data"]],
    }
    assert found["features"][0]["properties"]["chat_id"] == chat_id


async def test_it_tells_when_and_why_a_chat_is_read_next(viewer: httpx.AsyncClient, store: Store) -> None:
    waiting, silent = new_chat(), new_chat()
    await begin(store, waiting, asked=True)
    await begin(store, silent)
    chat_id = await share(store, "+12025550100", BERLIN)
    shares = (await viewer.get("/latest")).json()["shares"]
    assert shares.keys() == {waiting, silent, chat_id}
    assert (shares[waiting]["phase"], shares[waiting]["prompt"]) == ("requested", "waiting")
    assert (shares[silent]["phase"], shares[silent]["prompt"]) == ("pending", None)
    tracked = shares[chat_id]
    loaded = await store.shares.load(chat_id)
    assert loaded.live is not None
    assert loaded.due is not None
    assert tracked.pop("next_read_at") == format_time(int(loaded.due * 1000) * (NANOSECONDS // 1000))
    assert tracked == {"reference": "order 7", "phase": "tracking", "prompt": None, "rule": loaded.live.rule}
    assert tracked["rule"] in RULES
    assert (await viewer.get(f"/latest?chat_id={waiting}")).json()["shares"] == {waiting: shares[waiting]}
    assert (await viewer.get(f"/latest?chat_id={new_chat()}")).json()["shares"] == {}
    assert len((await viewer.get("/latest?limit=2")).json()["shares"]) == 2
    assert "shares" not in (await viewer.get("/latest?bbox=13,52,14,53")).json()


async def test_it_is_asked_by_chat_and_by_box(viewer: httpx.AsyncClient, store: Store) -> None:
    chat_id = await share(store, "+12025550100", BERLIN)
    await share(store, "+12025550101", SUVA)
    await share(store, "+12025550102", AUCKLAND)
    assert await handles(viewer) == {"+12025550100", "+12025550101", "+12025550102"}
    assert await handles(viewer, f"?chat_id={chat_id}") == {"+12025550100"}
    assert await handles(viewer, f"?chat_id={new_chat()}") == set()
    assert await handles(viewer, "?bbox=13,52,14,53") == {"+12025550100"}
    assert await handles(viewer, "?bbox=178,-20,-178,-16") == {"+12025550101"}
    assert await handles(viewer, "?bbox=170,-40,-170,-10") == {"+12025550101", "+12025550102"}
    assert await handles(viewer, "?bbox=-180,-90,180,90") == {"+12025550100", "+12025550101", "+12025550102"}
    assert await handles(viewer, "?bbox=-170,-40,170,-10") == set()
    assert await handles(viewer, f"?bbox=13,52,14,53&chat_id={new_chat()}") == set()


async def test_more_than_the_limit_is_said(viewer: httpx.AsyncClient, store: Store) -> None:
    for number in range(3):
        await share(store, f"+1202555010{number}", BERLIN)
    for query, count in (("limit=2", 2), ("limit=1&bbox=13,52,14,53", 1)):
        found = (await viewer.get(f"/latest?{query}")).json()
        assert (found["truncated"], len(found["features"])) == (True, count)
    for query in ("", "?limit=3", "?limit=10000", "?bbox=13,52,14,53"):
        found = (await viewer.get(f"/latest{query}")).json()
        assert ("truncated" in found, len(found["features"])) == (False, 3)


WRONG = [
    ("limit=0", "limit: given '0'; accepted: a whole number from 1 to 10000"),
    ("limit=10001", "limit: given '10001'"),
    ("limit=1.5", "limit: given '1.5'"),
    ("limit=", "limit: given ''"),
    ("limit=%C2%B2", "limit: given '²'"),
    ("bbox=1,2,3", "bbox: given '1,2,3'; accepted: west,south,east,north in degrees"),
    ("bbox=1,2,3,4,5", "bbox: given"),
    ("bbox=13,53,14,52", "bbox: given"),
    ("bbox=-181,0,0,1", "bbox: given"),
    ("bbox=0,0,180.1,1", "bbox: given"),
    ("bbox=0,0,1,90.1", "bbox: given"),
    ("bbox=nan,0,1,1", "bbox: given"),
    ("bbox=a,b,c,d", "bbox: given"),
    ("bbox=", "bbox: given ''"),
    ("chat_id=somebody", "chat_id: given 'somebody'; accepted: the UUID of a chat"),
    ("box=1,2,3,4", "'box' is not a parameter of this route; accepted: chat_id, bbox, limit"),
]


async def test_a_wrong_parameter_is_400_with_a_sentence(viewer: httpx.AsyncClient) -> None:
    for query, told in WRONG:
        reply = await viewer.get(f"/latest?{query}")
        assert (reply.status_code, reply.json()["error"][: len(told)]) == (400, told)


async def test_while_redis_is_away_it_is_503(webs: WebProcesses) -> None:
    with EmbeddedRedis() as server:
        web = await webs.start(REDIS_URL=server.url)
        server.halt()
        async with viewer_of(web) as client:
            assert (await client.get("/latest")).status_code == 503
