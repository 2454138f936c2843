"""Which chats a command is about: named on the command line, in a file, or on standard input."""

import csv
import io
import sys
from collections.abc import Sequence
from typing import NamedTuple, TextIO

import click

from worker.cli import arguments

_MAX_SHOWN = 10


class Target(NamedTuple):
    """One chat, with its own reference or None."""

    chat_id: str
    reference: str | None = None


def read_targets(words: Sequence[str], file: str | None) -> list[Target]:
    """Return all chats named by arguments and file; `-` is standard input. Raises click.UsageError."""
    if file is not None:
        words = [*words, *(["-"] if file == "-" else [])]
    targets: list[Target] = []
    for word in words:
        if word == "-":
            lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
            targets += _read_lines(lines, "standard input")
            # Left open: standard input is not ours to close.
            lines.detach()
        else:
            targets.append(Target(_checked_argument(word)))
    if file not in {None, "-"}:
        targets += _read_file(str(file))
    return targets


def _checked_argument(word: str) -> str:
    try:
        return arguments.chat_id(word)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _read_file(path: str) -> list[Target]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as lines:  # noqa: PTH123  # the message names it as given
            return _read_lines(lines, path)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None


def _read_lines(lines: TextIO, name: str) -> list[Target]:
    """Read lines `chat_id` or `chat_id,reference` (CSV, UTF-8); skip empty lines, `# …` and a heading."""
    targets: list[Target] = []
    wrong: list[str] = []
    rows = csv.reader(lines)
    try:
        for row in rows:
            fields = [field.strip() for field in row]
            if not any(fields) or fields[0].startswith("#") or (rows.line_num == 1 and fields[0] == "chat_id"):
                continue
            try:
                targets.append(_target(fields))
            except ValueError as error:
                wrong.append(f"{name}, line {rows.line_num}: {error}")
    except UnicodeDecodeError:
        wrong.append(f"{name} is not UTF-8 text: save it as UTF-8, one chat id (or `chat_id,reference`) a line")
    except csv.Error as error:
        wrong.append(f"{name}, line {rows.line_num}: not CSV ({error})")
    if wrong:
        more = [f"… and {len(wrong) - _MAX_SHOWN} more"] if len(wrong) > _MAX_SHOWN else []
        raise click.UsageError("\n".join(["nothing was queued:", *wrong[:_MAX_SHOWN], *more]))
    if not targets:
        raise click.UsageError(f"{name} names no chat: expected one chat id (or `chat_id,reference`) a line")
    return targets


def _target(fields: list[str]) -> Target:
    if len(fields) > 2:
        raise ValueError(
            f"{len(fields)} fields: expected `chat_id` or `chat_id,reference`; quote a reference with a comma"
        )
    own = arguments.reference(fields[1]) if len(fields) == 2 and fields[1] else None
    return Target(arguments.chat_id(fields[0]), own)
