"""The services of a worker process, built once and passed to every job."""

from dataclasses import dataclass
from typing import Any

from config.settings import Settings
from worker import metrics
from worker.chert.client import ChertClient
from worker.linq.client import LinqClient
from worker.polling.engine import Engine
from worker.store.store import Store


class MissingKeyError(RuntimeError):
    """A job needs an API whose key is not set; the text names the variable."""

    def __init__(self, variable: str) -> None:
        super().__init__(f"{variable} is not set: set it for the worker and queue the job again")


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one worker process; without Linq's key, `engine` and `linq` are None; `chert` likewise."""

    settings: Settings
    store: Store
    engine: Engine | None = None
    linq: LinqClient | None = None
    chert: ChertClient | None = None

    def need_engine(self) -> Engine:
        """Return the engine. Raises MissingKeyError if Linq's key is not set."""
        if self.engine is None:
            raise MissingKeyError("LINQ_API_V3_API_KEY")
        return self.engine

    def need_linq(self) -> LinqClient:
        """Return Linq's client. Raises MissingKeyError if its key is not set."""
        if self.linq is None:
            raise MissingKeyError("LINQ_API_V3_API_KEY")
        return self.linq

    def need_chert(self) -> ChertClient:
        """Return Chert's client. Raises MissingKeyError if its secret is not set."""
        if self.chert is None:
            raise MissingKeyError("CHERT_SIGNING_SECRET")
        return self.chert

    async def keep_job(self, job_id: bytes, reason: str, detail: dict[str, Any], *, reference: str = "") -> None:
        """Keep a job as a dead letter, and count it. Raises redis-py's errors."""
        await self.store.dead_letters.add_job(job_id, reason, detail, reference=reference)
        metrics.DEAD_LETTERS.labels("job").inc()
