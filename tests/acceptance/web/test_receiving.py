"""POST /webhooks/linq as docs/reference/http.md describes it: a real process, real sockets."""

import asyncio
import json
import time
import uuid
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from simulator.harness import SimulatorServer
from tests.support.waiting import wait_until
from tests.support.web import (
    CONTACT,
    OTHER_SECRET,
    SECRET,
    STOPPED,
    WebProcess,
    WebProcesses,
    connected,
    event,
    signed,
)

LIMIT = 256 * 1024
CHAT = "3F1C9A52-7D0E-4B8A-9A41-6C2B5E0D7F13"


async def jobs(redis: Redis, prefix: str) -> list[dict[str, Any]]:
    """Return the jobs in the queue, oldest first."""
    names = await redis.zrange(f"{prefix}:jobs", 0, -1)
    found = [await redis.get(b"arq:job:" + name) for name in names]
    return [json.loads(job) for job in found if job is not None]


async def letters(redis: Redis, prefix: str) -> list[dict[str, str]]:
    entries = await redis.xrange(f"{prefix}:dead-letters")
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]


async def test_an_event_is_stored_as_a_job_before_204_is_answered(web: WebProcess, redis: Redis, prefix: str) -> None:
    reply = await web.deliver(event(chat_id=CHAT, began_at="2026-10-12T09:30:03Z", ends_at=None))
    assert (reply.status_code, reply.content) == (204, b"")
    (job,) = await jobs(redis, prefix)
    assert (job["f"], job["a"], job["k"]["kind"]) == ("hear_webhook", [], "started")
    assert job["k"]["event"]["shared_by"] == CONTACT
    assert job["k"]["event"]["chat_id"] == CHAT.lower()
    (name,) = await redis.zrange(f"{prefix}:jobs", 0, -1)
    assert 0 < await redis.pttl(b"arq:job:" + name) <= 86_400_000


async def test_the_same_event_is_stored_once_however_often_it_comes(web: WebProcess, redis: Redis, prefix: str) -> None:
    body, name = event(), str(uuid.uuid4())
    headers = signed(body, event_id=name)
    replies = await asyncio.gather(*(web.deliver(body, headers) for _ in range(10)))
    again = await web.deliver(body, signed(body, event_id=name, at=time.time() + 60))
    assert {reply.status_code for reply in [*replies, again]} == {204}
    assert len(await jobs(redis, prefix)) == 1
    assert (await web.deliver(body)).status_code == 204
    assert len(await jobs(redis, prefix)) == 2


async def test_what_the_simulator_signs_is_accepted(web: WebProcess, redis: Redis, prefix: str) -> None:
    with SimulatorServer() as simulator:
        simulator.subscribe(web.hook, secret=SECRET)
        simulator.add_person(CONTACT, sharing=True)
        simulator.stop_sharing(CONTACT)
        await wait_until(simulator.attempts, "a delivery")
        assert [attempt.status for attempt in simulator.attempts()] == [204]
    (job,) = await jobs(redis, prefix)
    assert job["k"]["kind"] == "stopped"


async def test_a_slash_at_the_end_is_no_other_address(web: WebProcess, redis: Redis, prefix: str) -> None:
    body = event()
    async with httpx.AsyncClient() as client:
        reply = await client.post(f"{web.hook}/", content=body, headers=signed(body))
    assert reply.status_code == 204
    assert len(await jobs(redis, prefix)) == 1


async def test_two_lines_of_signatures_lose_no_event(web: WebProcess, redis: Redis, prefix: str) -> None:
    body = event()
    headers = [*signed(body).items(), ("webhook-signature", signed(body, secret=OTHER_SECRET)["webhook-signature"])]
    async with httpx.AsyncClient() as client:
        assert (await client.post(web.hook, content=body, headers=headers)).status_code == 204
    assert len(await jobs(redis, prefix)) == 1


async def test_a_bad_character_loses_no_event(web: WebProcess, redis: Redis, prefix: str) -> None:
    body = event(note="HERE").replace(b"HERE", b"cut \\ud83d")
    assert (await web.deliver(body)).status_code == 204
    assert len(await jobs(redis, prefix)) == 1


async def test_any_of_several_secrets_will_do(webs: WebProcesses) -> None:
    web = await webs.start(LINQ_WEBHOOK_SECRET=f"{OTHER_SECRET}, {SECRET}")
    body = event()
    assert (await web.deliver(body, signed(body))).status_code == 204
    assert (await web.deliver(body, signed(body, secret=OTHER_SECRET))).status_code == 204


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": None},
        {"webhook-timestamp": None},
        {"webhook-signature": None},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v2,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": str(10**14)},
        {"webhook-id": "another"},
    ],
    ids=str,
)
async def test_a_delivery_that_linq_did_not_sign_is_401(
    web: WebProcess, redis: Redis, prefix: str, changes: dict[str, str | None]
) -> None:
    body = event()
    headers = {name: text for name, text in (signed(body) | changes).items() if text is not None}
    assert (await web.deliver(body, headers)).status_code == 401
    assert (await jobs(redis, prefix), await letters(redis, prefix)) == ([], [])


async def test_a_secret_body_or_time_that_does_not_fit_is_401(web: WebProcess) -> None:
    body = event()
    assert (await web.deliver(body, signed(body, secret=OTHER_SECRET))).status_code == 401
    assert (await web.deliver(body + b" ", signed(body))).status_code == 401
    for seconds in (-301, 305):
        assert (await web.deliver(body, signed(body, at=time.time() + seconds))).status_code == 401
    assert (await web.deliver(b"\xff" + body, signed(body))).status_code == 401
    assert (await web.deliver(b"", {})).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"[]",
        b"{}",
        b'{"event_type": 7}',
        b"[" * 100_000,
        event(shared_by=None),
        event(STOPPED, shared_with="nobody"),
        json.dumps({"event_type": STOPPED, "data": []}).encode(),
    ],
    ids=lambda body: body[:20].decode(),
)
async def test_what_is_signed_and_no_event_is_400_and_kept(
    web: WebProcess, redis: Redis, prefix: str, body: bytes
) -> None:
    assert (await web.deliver(body)).status_code == 400
    (letter,) = await letters(redis, prefix)
    assert (letter["kind"], letter["payload"]) == ("webhook", body.decode()[:65_536])
    assert letter["reason"]
    assert json.loads(letter["detail"])
    assert await jobs(redis, prefix) == []


async def test_unknown_types_and_fields_are_fine(web: WebProcess, redis: Redis, prefix: str) -> None:
    assert (await web.deliver(event("message.received", parts=[]))).status_code == 204
    assert (await web.deliver(event("location.sharing.paused"))).status_code == 204
    assert await jobs(redis, prefix) == []
    assert (await web.deliver(event(colour="blue", ends_at=7, chat_id="x"))).status_code == 204
    (job,) = await jobs(redis, prefix)
    assert (job["k"]["event"]["ends_at"], job["k"]["event"]["chat_id"]) == (None, None)
    assert await letters(redis, prefix) == []


@pytest.mark.parametrize("year", ["1970", "2262", "2263", "9999"])
async def test_times_however_far_away_are_fine(web: WebProcess, redis: Redis, prefix: str, year: str) -> None:
    assert (await web.deliver(event(ends_at=f"{year}-12-31T23:59:59Z"))).status_code == 204
    (job,) = await jobs(redis, prefix)
    assert (job["k"]["event"]["ends_at"] is not None) == (year == "1970")


async def test_without_a_secret_everything_is_503(webs: WebProcesses, redis: Redis, prefix: str) -> None:
    web = await webs.start(LINQ_WEBHOOK_SECRET="")
    assert (await web.deliver(event())).status_code == 503
    assert await jobs(redis, prefix) == []
    assert "LINQ_WEBHOOK_SECRET" in web.log()


async def test_a_body_up_to_the_limit_is_read_and_a_larger_one_is_413(web: WebProcess) -> None:
    body = event("message.received", text="x" * (LIMIT - len(event("message.received", text=""))))
    assert len(body) == LIMIT
    assert (await web.deliver(body)).status_code == 204
    assert (await web.deliver(body + b" ", signed(body))).status_code == 413
    assert (await web.deliver(b" " * 20_000_000, signed(body))).status_code == 413


HEAD = b"POST /webhooks/linq HTTP/1.1\r\nhost: here\r\n"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_length_over_the_limit_is_413_before_anything_is_sent(web: WebProcess) -> None:
    with connected(web.port) as connection:
        connection.sendall(HEAD + b"content-length: 262145\r\n\r\n")
        assert status_of(await asyncio.to_thread(connection.recv, 1000)) == 413


async def test_chunks_are_counted_while_they_come(web: WebProcess) -> None:
    def send() -> bytes:
        with connected(web.port) as connection:
            connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            for _ in range(LIMIT // 65_536):
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            connection.sendall(b"1\r\nx\r\n")  # over the limit, and the body has not ended yet
            answer = b""
            while piece := connection.recv(1000):
                answer += piece
            return answer

    answer = await asyncio.to_thread(send)
    assert status_of(answer) == 413
    assert b"connection: close" in answer.lower()


async def test_a_delivery_that_drips_is_understood(web: WebProcess) -> None:
    body = event()
    lines = [f"{name}: {text}".encode() for name, text in signed(body).items()]
    with connected(web.port) as connection:
        connection.sendall(HEAD + b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", b""]))
        for start in range(0, len(body), 50):
            piece = body[start : start + 50]
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await asyncio.sleep(0.01)
        connection.sendall(b"0\r\n\r\n")
        assert status_of(await asyncio.to_thread(connection.recv, 1000)) == 204


async def test_a_sender_who_stops_in_the_middle_is_let_go(web: WebProcess) -> None:
    with connected(web.port) as connection:
        connection.sendall(HEAD + b"content-length: 400\r\n\r\n{")
        assert status_of(await asyncio.to_thread(connection.recv, 1000)) == 503


async def test_a_sender_who_goes_away_disturbs_nobody(web: WebProcess) -> None:
    for _ in range(5):
        with connected(web.port) as connection:
            connection.sendall(HEAD + b"content-length: 400\r\n\r\n{")
    assert (await web.deliver(event())).status_code == 204
    assert "Traceback" not in web.log()


async def test_only_post_is_answered(web: WebProcess) -> None:
    assert (await web.client.get("/webhooks/linq")).status_code == 405
    assert (await web.client.get("/")).status_code == 404


async def test_no_handle_and_no_secret_gets_into_the_log(web: WebProcess) -> None:
    await web.deliver(event(shared_by="anna@example.org"))
    await web.deliver(event(shared_by="anna@example.org", shared_with="somebody"))
    body = event()
    await web.deliver(body, signed(body, secret=OTHER_SECRET))
    shown = web.log() + (await web.client.get("/metrics")).text
    assert await web.stop() == 0
    shown += web.log()
    for private in ("anna@example.org", CONTACT, CONTACT[1:], "somebody", SECRET, SECRET[6:]):
        assert private not in shown
