"""Every wrong argument gets its own message, and nothing is queued."""

from collections.abc import Callable

import pytest
from click.testing import Result
from redis.asyncio import Redis

from tests.location_client.samples import CHAT

Run = Callable[..., Result]

WRONG = [
    (["request"], "no chat: name CHAT_ID, --file with one chat id a line, or --to and --from"),
    (["request", "abc"], "'abc' is not a chat id: expected a UUID such as"),
    (["request", CHAT, "3f1c9a527d0e4b8a9a416c2b5e0d7f13"], "is not a chat id"),
    (["request", CHAT, "--reference", ""], "is not a reference: expected 1 to 128 printable characters"),
    (["request", CHAT, "--reference", "a\tb"], "remove tabs, line ends and other control characters"),
    (["request", CHAT, "--reference", "x" * 129], "is not a reference"),
    (["request", CHAT, "--accept-within", "0"], "'0' is not a duration: expected a number of seconds above 0"),
    (["request", CHAT, "--accept-within", "1h"], "write one hour as 3600"),
    (["request", CHAT, "--follow-for", "-5"], "'-5' is not a duration"),
    (["request", CHAT, "--follow-for", "nan"], "'nan' is not a duration"),
    (["request", CHAT, "--follow-for", "1000000000"], "at most 316224000"),
    (["request", CHAT, "--min-interval", "x"], "Invalid value for '--min-interval'"),
    (["request", CHAT, "--max-interval", "inf"], "Invalid value for '--max-interval'"),
    (
        ["request", CHAT, "--min-interval", "60", "--max-interval", "30"],
        "--min-interval 60 is above --max-interval 30",
    ),
    (["request", "--to", "+12025550147"], "--to and --from go together"),
    (["request", "--from", "+12025550147", CHAT], "--to and --from go together"),
    (["request", "--to", "12025550147", "--from", "+14155550100"], "write it like +12025550147 or name@"),
    (["request", CHAT, "--to", "+12025550147", "--from", "+14155550100"], "give one of them"),
    (["request", CHAT, "--message", "Hello"], "name both with --to and --from"),
    (
        ["request", "--to", "+12025550147", "--from", "+14155550100", "--message", " "],
        "expected a text of 1 to 10000 characters",
    ),
    (["request", CHAT, "--wait", "--timeout", "0"], "'0' is not a duration"),
    (["request", "--file", "missing.csv"], "missing.csv cannot be read: No such file or directory"),
    (["request", CHAT, "--often"], "No such option"),
    (["track"], "no chat: name CHAT_ID"),
    (["track", CHAT, "--accept-within", "5"], "No such option"),
    (["untrack"], "no chat: name CHAT_ID"),
    (["untrack", "abc"], "'abc' is not a chat id"),
    (["stop-sharing", CHAT], "Missing argument 'HANDLE'"),
    (["stop-sharing", CHAT, "nobody"], "'nobody' is not a handle"),
    (["stop-sharing", "abc", "+12025550147"], "'abc' is not a chat id"),
    (["forget"], "Missing argument 'HANDLE'"),
    (["forget", "a@b@c"], "is not a handle: expected a phone number"),
    (["pin", "--latitude", "1", "--longitude", "1"], "a pin has one recipient: give either --phone or --chat-id"),
    (["pin", "--phone", "+12025550147", "--chat-id", "x"], "a pin has one recipient"),
    (["pin", "--phone", "a@example.org"], "'a@example.org' is not a phone number: expected E.164"),
    (["pin", "--phone", "555"], "'555' is not a handle: expected a phone number"),
    (["pin", "--phone", "+12025550147"], "no place: give --latitude and --longitude, or --from-share"),
    (["pin", "--phone", "+12025550147", "--latitude", "91", "--longitude", "0"], "'91' is not a latitude"),
    (["pin", "--phone", "+12025550147", "--latitude", "0", "--longitude", "181"], "'181' is not a longitude"),
    (["pin", "--phone", "+12025550147", "--latitude", "0"], "no place"),
    (
        ["pin", "--phone", "+12025550147", "--latitude", "0", "--from-share", CHAT],
        "leave --latitude and --longitude out",
    ),
    (["pin", "--phone", "+12025550147", "--handle", "+12025550100"], "--handle chooses a person in the chat"),
    (["pin", "--phone", "+12025550147", "--fallback-mode", "vcard"], "'vcard' is not one of 'auto', 'balloon'"),
    (["pin", "--phone", "+12025550147", "--expires-at", "tomorrow"], "write it like 2026-10-12T18:00:00Z"),
    (["pin", "--phone", "+12025550147", "--url", "maps"], "expected an http:// or https:// address"),
    (
        ["pin", "--phone", "+12025550147", "--idempotency-key", "k" * 201],
        "expected 1 to 200 bytes of printable ASCII",
    ),
    (["pin", "--phone", "+12025550147", "--reference", ""], "is not a reference"),
    (["status", "abc"], "'abc' is not a chat id"),
    (["tail", "--type", "moved"], "'moved' is not an event type: expected one of location.requested"),
    (["tail", "--from", "yesterday"], "expected `beginning`, `end` or the id of the entry"),
    (["tail", "--consumer", "one"], "name its consumer group with --group"),
    (["tail", "--group", "g", "--from", "1-1"], "a consumer group begins at `beginning` or `end`"),
    (["tail", "--count", "0"], "0 is not in the range"),
    (["schema", "moved"], "'moved' is not an event type"),
    (["webhooks", "register"], "Missing argument 'URL'"),
    (["webhooks", "register", "http://example.org/webhooks/linq"], "expected https://HOST/webhooks/linq"),
    (["webhooks", "delete"], "Missing argument 'ID'"),
    (["demo", "--seconds", "0"], "'0' is not a duration"),
    (["demo", "--people", "0"], "0 is not in the range"),
    (["dance"], "No such command 'dance'"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words)[:60] for words, _ in WRONG])
async def test_a_wrong_argument_is_told_and_nothing_is_queued(
    run: Run, redis: Redis, prefix: str, words: list[str], message: str
) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""
    assert not await redis.exists(f"{prefix}:jobs")


async def test_bad_lines_of_a_file_are_named_before_anything_is_queued(run: Run, redis: Redis, prefix: str) -> None:
    lines = ["chat_id,reference", CHAT, "abc", f"{CHAT},one,two", "", f"{CHAT},a\x01b"]
    result = run("request", "--file", "-", stdin="\n".join(lines))
    assert result.exit_code == 2
    assert "nothing was queued" in result.stderr
    assert "standard input, line 3: 'abc' is not a chat id" in result.stderr
    assert "standard input, line 4: 3 fields: expected `chat_id` or `chat_id,reference`" in result.stderr
    assert "standard input, line 6: 'a\\x01b' is not a reference" in result.stderr
    assert "line 2" not in result.stderr
    assert not await redis.exists(f"{prefix}:jobs")


def test_of_very_many_bad_lines_the_first_are_named_and_the_others_counted(run: Run) -> None:
    result = run("track", "-", stdin="x\n" * 25)
    assert result.exit_code == 2
    assert "line 10:" in result.stderr
    assert "line 11:" not in result.stderr
    assert "… and 15 more" in result.stderr


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "standard input names no chat"),
        (b"# nobody\n\n", "standard input names no chat"),
        (b"\xff\xfe\x00", "standard input is not UTF-8 text"),
        (f'{CHAT},"'.encode() + b"x" * 200_000, "not CSV"),
    ],
    ids=["empty", "comment", "utf-16", "endless quote"],
)
def test_input_that_is_no_list_of_chats_is_told(run: Run, stdin: bytes, message: str) -> None:
    result = run("untrack", "-", stdin=stdin)
    assert result.exit_code == 2
    assert message in result.stderr
