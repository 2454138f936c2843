"""Whatever is sent to the web process, it answers as docs/reference/http.md says and keeps working."""

import asyncio
import json
import string
import time
from collections.abc import Mapping
from typing import Any

import httpx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from config.settings import Settings
from tests.support.web import CONTACT, LINE, SECRET, STARTED, STOPPED, WebProcess, connected, event, signed
from worker.processes.web import make_app
from worker.store.store import Store

STATUSES = {204, 400, 401, 413, 503}
# All examples share one prefix in Redis: nothing that one leaves behind affects another.
fuzzing = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=10,
)
times = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.integers(0, 9999).map(
    lambda year: f"{year:04}-12-31T23:59:59.999999999Z"
)
fields = {
    "shared_by": st.just(CONTACT) | st.emails() | json_values,
    "shared_with": st.just(LINE) | json_values,
    "began_at": times | json_values,
    "ends_at": times | json_values,
    "ended_at": times | json_values,
    "chat_id": st.uuids().map(str) | json_values,
}
events = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from([STARTED, STOPPED]) | json_values,
        "data": st.fixed_dictionaries({}, optional=fields) | json_values,
    },
    optional={"created_at": times | json_values, "event_id": json_values},
)
header_names = st.text(string.ascii_lowercase + "-", min_size=1, max_size=20)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=100)
own_headers = st.fixed_dictionaries(
    {},
    optional={
        "webhook-id": header_values,
        "webhook-timestamp": header_values | st.integers().map(str) | st.just(str(int(time.time()))),
        "webhook-signature": header_values | header_values.map(lambda text: f"v1,{text} v1,{text}"),
        "content-length": header_values,
    },
)


async def post(redis: Redis, prefix: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Post to the application within this process, so that its exceptions are raised here."""
    app = make_app(
        Settings(linq_webhook_secrets=(SECRET,), key_prefix=prefix), Store(redis, Settings(key_prefix=prefix))
    )
    raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://web") as client:
        request = httpx.Request("POST", "http://web/webhooks/linq", content=body, headers=raw)
        return (await client.send(request)).status_code


@fuzzing
@given(body=st.binary(max_size=2000), headers=st.dictionaries(header_names, header_values, max_size=5), own=own_headers)
async def test_what_nobody_signed_is_refused(
    redis: Redis, prefix: str, body: bytes, headers: dict[str, str], own: dict[str, str]
) -> None:
    assert await post(redis, prefix, body, headers | own) in STATUSES - {204, 503}


@fuzzing
@given(content=events | json_values)
@example(
    content={
        "event_type": STARTED,
        "data": {"shared_by": CONTACT, "shared_with": LINE, "ends_at": "9999-12-31T23:59:59Z"},
    }
)
async def test_whatever_is_signed_is_taken_on_or_kept(redis: Redis, prefix: str, content: Any) -> None:
    body = json.dumps(content).encode()
    assert await post(redis, prefix, body, signed(body)) in (204, 400)


@fuzzing
@given(body=st.text(max_size=2000).map(str.encode), name=st.text(string.printable, min_size=1, max_size=2000))
async def test_any_signed_text_under_any_id_is_taken_on_or_kept(
    redis: Redis, prefix: str, body: bytes, name: str
) -> None:
    name = "".join(name.split()) or "x"
    assert await post(redis, prefix, body, signed(body, event_id=name)) in (204, 400)


async def test_bytes_that_are_no_request_are_survived(web: WebProcess) -> None:
    def send(piece: bytes) -> bytes:
        with connected(web.port) as connection:
            connection.sendall(piece)
            return connection.recv(100)

    for piece in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS, by mistake
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"POST /webhooks/linq HTTP/1.1\r\nhost: here\r\ncontent-length: -1\r\n\r\n",
        b"POST /webhooks/linq HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /webhooks/linq HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /webhooks/linq HTTP/1.1\r\nhost: here\r\nwebhook-id: " + b"x" * 100_000 + b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ):
        answer = await asyncio.to_thread(send, piece)
        assert answer == b"" or answer.split(b" ", 2)[1] in (b"400", b"401", b"404", b"431")
    assert (await web.deliver(event())).status_code == 204
    assert "Traceback" not in web.log()
