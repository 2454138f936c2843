"""The JSON of jobs and results (docs/reference/jobs.md), written and read.

arq passes every job's data to the deserializer. What is not JSON of the right shape becomes a call of the function
`REFUSE`, which turns it into a dead letter and a failed result; nothing is ever unpickled.
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from location_client.arguments import FORMS

REFUSE = "refuse"
MAX_BYTES = 1_048_576  # far more than any job of ours needs; more is kept out of memory and logs
LATEST_ENQUEUE_TIME = 4_102_444_800_000  # the year 2100 in milliseconds: arq makes a datetime of it
MAX_TRIES = 1_000
MAX_LEVELS = 8  # of nested lists and objects, including the object of the arguments


class _Job(msgspec.Struct):
    t: int | None
    f: str
    a: list[Any]
    k: dict[str, Any]
    et: int


_decode = msgspec.json.Decoder(_Job).decode


def make_reader(functions: Collection[str]) -> Callable[[bytes], dict[str, Any]]:
    """Return a job deserializer for arq, which never raises; `functions` are the names that jobs may call."""

    def read_job(data: bytes) -> dict[str, Any]:
        reason = None
        try:
            if len(data) > MAX_BYTES:
                reason = f"the job has {len(data)} bytes, at most {MAX_BYTES} are accepted"
            else:
                job = _decode(data)
                reason = _fault(job, functions)
                if reason is None:
                    return {"t": job.t, "f": job.f, "a": (), "k": job.k, "et": job.et}
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            reason = f"not the JSON of a job: {error}"
        return {"t": None, "f": REFUSE, "a": (), "k": {"reason": reason}, "et": 0}

    return read_job


def _fault(job: _Job, functions: Collection[str]) -> str | None:
    if job.f not in functions:
        return f"no function {job.f[:100]!r}; there are {', '.join(sorted(FORMS))}"
    if job.a:
        return "jobs take keyword arguments only; `a` must be empty"
    if _is_deeper(job.k, MAX_LEVELS):
        return f"its arguments are nested more than {MAX_LEVELS} levels deep"
    if not 0 <= job.et <= LATEST_ENQUEUE_TIME:
        return "`et` is not a time in milliseconds since 1970"
    if job.t is not None and not 0 <= job.t <= MAX_TRIES:
        return f"`t` is neither null nor a number of tries up to {MAX_TRIES}"
    return None


def _is_deeper(value: object, levels: int) -> bool:
    """Return whether a value is nested more than `levels` deep: showing or copying it could overflow the stack."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in inner)


def write_job(data: dict[str, Any]) -> bytes:
    """Write a job or a result as JSON; a failure's result is `{"error": class name, "detail": …}`.

    A refused job's result does not name the function REFUSE.
    """
    if data["f"] == REFUSE:
        data = data | {"f": None, "k": {}}
    return _encode(data)


def _plain(value: object) -> object:
    if isinstance(value, BaseException):
        detail = getattr(value, "detail", None)
        return {"error": type(value).__name__, "detail": str(value) if detail is None else detail}
    raise NotImplementedError(f"{type(value).__name__} is not JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
