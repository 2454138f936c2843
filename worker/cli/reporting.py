"""Queue jobs, wait for their results, and report on them, for the commands that queue jobs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from worker.cli.connection import with_client
from worker.cli.output import note, print_json, print_table, progress
from worker.text import counted, describe_position

if TYPE_CHECKING:
    from config.settings import Settings
    from location_client import Job, LocationClient, QueuedJob

# Nobody reads more lines than this; --json prints them all.
_MAX_TABLE_ROWS = 50
_UNSUCCESSFUL = {"rejected", "ended", "failed", "error"}


def queue_and_report(
    function: str, arguments: Sequence[Mapping[str, Any]], wait: bool, timeout: float, *, as_json: bool
) -> int:
    """Queue one job for each set of arguments, report on them, and return the exit status."""
    # Both take a while to import, and wrong usage does not need them.
    from config.settings import load_settings  # noqa: PLC0415
    from location_client import Job  # noqa: PLC0415

    try:
        jobs: list[Job[dict[str, Any]]] = [Job.checked(function, one) for one in arguments]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    settings = load_settings("client")
    queued_count = 0

    async def work(client: "LocationClient") -> int:
        with progress(len(jobs), "queueing") as tell:

            def count(step: int) -> None:
                nonlocal queued_count
                queued_count += step
                tell(step)

            after = await client.last_event_id() if wait else ""
            queued = await client.queue_many(jobs, progress=count)
        if wait:
            outcomes = await _await_results(client, settings, queued, timeout)
            max_age = jobs[0].arguments.get("max_age")
            if max_age is not None:
                from worker.cli.positions import await_positions  # noqa: PLC0415  # see queue_and_report

                with progress(len(outcomes), "waiting for positions", least=2) as tell:
                    await await_positions(client, after, outcomes, max_age=max_age, timeout=timeout, tell=tell)
            return _report_results(jobs, outcomes, timeout, as_json=as_json)
        _report_queued(jobs, as_json=as_json)
        return 0

    try:
        return with_client(work, settings)
    except KeyboardInterrupt:
        note(f"interrupted: {queued_count:,} of {counted(len(jobs), 'job')} queued; they stay queued and will run")
        raise


def _report_queued(jobs: "Sequence[Job[dict[str, Any]]]", *, as_json: bool) -> None:
    if as_json:
        for job in jobs:
            print_json({"job_id": job.id, **_about(job)})
    elif len(jobs) <= _MAX_TABLE_ROWS:
        rows = [(job.id, job.arguments.get("chat_id"), job.arguments.get("reference")) for job in jobs]
        print_table(f"queued: {jobs[0].function}", ("job", "chat", "reference"), rows)
    else:
        click.echo(f"{len(jobs)} jobs queued ({jobs[0].function})")


async def _await_results(
    client: "LocationClient", settings: "Settings", queued: "Sequence[QueuedJob[dict[str, Any]]]", timeout: float
) -> dict[str, dict[str, Any]]:
    """Return the results by job id, once no prompt waits; jobs without a result after `timeout` seconds are missing."""
    from worker.cli.prompts import settle_prompts  # noqa: PLC0415  # see queue_and_report
    from worker.store.store import Store  # noqa: PLC0415

    outcomes: dict[str, dict[str, Any]] = {}
    with progress(len(queued), "waiting", least=2) as tell:
        answered = -1
        while answered < len(outcomes) < len(queued):
            answered = len(outcomes)
            rest = [job for job in queued if job.id not in outcomes]
            async for job, outcome in client.results(rest, timeout=timeout):
                if isinstance(outcome, Exception):
                    outcomes[job.id] = {"status": "error", "error": outcome.error, "detail": outcome.detail}
                else:
                    outcomes[job.id] = outcome
                tell(outcomes[job.id].get("prompt") != "waiting")
        await settle_prompts(Store(client.redis, settings), outcomes, timeout=timeout, tell=tell)
    return outcomes


def _report_results(
    jobs: "Sequence[Job[dict[str, Any]]]",
    outcomes: Mapping[str, Mapping[str, Any]],
    timeout: float,
    *,
    as_json: bool,
) -> int:
    missing = {
        "status": "waiting",
        "detail": f"no result within {timeout:g} s: does a worker run on this Redis, queue and prefix?",
    }
    results = [(job, outcomes.get(job.id, missing)) for job in jobs]
    bad = [result for _, result in results if result.get("status") in _UNSUCCESSFUL]
    unasked = [result for _, result in results if result.get("prompt") == "waiting"]
    unanswered = len(jobs) - len(outcomes)
    wants_position = "max_age" in jobs[0].arguments
    unlocated = [result for result in outcomes.values() if wants_position and "position" not in result]
    unlocated = [result for result in unlocated if result.get("status") not in _UNSUCCESSFUL]
    if as_json:
        for job, result in results:
            print_json(result.get("position") or {"job_id": job.id, **_about(job), "result": result})
    else:
        # Among many results the failures are what one wants to read.
        rows = [row for row in results if row[1].get("status") in {*_UNSUCCESSFUL, "waiting"}]
        if len(results) <= _MAX_TABLE_ROWS:
            rows = results
        print_table(
            f"results: {jobs[0].function}",
            ("chat", "reference", "status", "more"),
            [
                (
                    result.get("chat_id") or job.arguments.get("chat_id"),
                    job.arguments.get("reference"),
                    result.get("status"),
                    _more(result),
                )
                for job, result in rows[:_MAX_TABLE_ROWS]
            ],
        )
    if bad:
        note(f"{len(bad):,} of {len(jobs):,} did not succeed")
    if unasked:
        note(f"{counted(len(unasked), 'prompt')} still waiting to be sent; a refusal will be published on the stream")
    if unanswered:
        note(f"{counted(unanswered, 'job')} still waiting for a result")
    if unlocated:
        note(f"{counted(len(unlocated), 'fresh position')} not there within {timeout:g} s; what is tracked goes on")
    return 1 if bad or unanswered or unlocated else 0


def _about(job: "Job[dict[str, Any]]") -> dict[str, Any]:
    return {name: job.arguments[name] for name in ("chat_id", "reference") if job.arguments.get(name)}


def _more(result: Mapping[str, Any]) -> str:
    if "position" in result:
        return describe_position(result["position"])
    if result["status"] == "error":
        from location_client import JobFailed  # noqa: PLC0415  # see queue_and_report

        return str(JobFailed(result["error"], result["detail"]))
    return ", ".join(
        f"{name} {value}" for name, value in result.items() if name not in {"status", "chat_id"} and value is not None
    )
