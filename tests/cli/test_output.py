"""Values that people copy are never cut or wrapped, however narrow the terminal is."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import Result

from tests.location_client.samples import CHAT, SHARE
from worker.cli.output import print_table
from worker.domain.share import Share
from worker.store.packing import pack

Run = Callable[..., Result]
SENTENCE = "the sixth word of this sentence, and many more, stand on another line of a table than the first one"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make rich assume a terminal of 80 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")  # without colours, so that the test can read it
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def tracked(server: Any, prefix: str) -> Iterator[None]:
    """Store one tracked chat for the test."""
    seconds, _ = server.time()
    share = Share(SHARE, "order-7", seconds - 60, asked=True, follow=True, follow_for=60, rule="pending-stretched")
    keys = {kind: f"{prefix}:{kind}" for kind in (f"share:{CHAT}", "due", "fleet")}
    server.set(keys[f"share:{CHAT}"], pack(share))
    server.zadd(keys["due"], {CHAT: seconds + 600})
    server.hset(keys["fleet"], mapping={"pending": 1})
    yield
    server.delete(*keys.values())


@pytest.mark.usefixtures("narrow", "tracked")
@pytest.mark.parametrize("words", [["status"], ["status", CHAT], ["status", "--all"], ["request", CHAT, CHAT]])
def test_ids_are_whole_on_a_narrow_terminal(run: Run, words: list[str]) -> None:
    result = run(*words, "--reference", "order-7") if words[0] == "request" else run(*words)
    assert result.exit_code == 0
    assert CHAT in result.stdout
    assert "order-7" in result.stdout


@pytest.mark.usefixtures("narrow")
def test_a_row_that_does_not_fit_becomes_a_paragraph_with_the_names_of_its_cells(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table("title", ("chat", "share", "next", "rule"), [(CHAT, SHARE, "12 s", "square-root"), (SHARE, "", "", "")])
    assert capsys.readouterr().out.splitlines() == [
        "title",
        "",
        CHAT,
        f"  share {SHARE}  next 12 s  rule square-root",
        SHARE,
    ]


@pytest.mark.usefixtures("narrow")
def test_sentences_are_wrapped_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", ("chat", "found"), [(CHAT, SENTENCE)])
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert " ".join(" ".join(lines).replace(CHAT, "").split()).endswith(SENTENCE)


def test_a_pipe_gets_lines_that_a_person_can_read_but_never_half_an_id(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", ("chat", "found", "remedy"), [(CHAT, SENTENCE, SENTENCE)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100
    print_table("title", ("a", "b", "c", "d"), [(CHAT, SHARE, CHAT, SHARE)])
    assert any(line.split() == [CHAT, SHARE, CHAT, SHARE] for line in capsys.readouterr().out.splitlines())


@pytest.mark.usefixtures("tracked")
def test_one_is_not_several(run: Run) -> None:
    assert "1 chat tracked" in run("status").stdout
    assert json.loads(run("status", "--json").stdout)["watched"] == 1
