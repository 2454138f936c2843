"""Sending a pin: once, whatever happens to workers, connections and the account at Chert.

Every attempt of a job sends identical bytes under one idempotency key. The queue does the waiting: a job that has to
wait is queued again and occupies nothing meanwhile.
"""

import hashlib
import random
from typing import Any, NoReturn

import arq
import msgspec
import structlog

from location_client import limits
from worker import metrics
from worker.chert.client import Failed, Queued, Retry
from worker.chert.pin import Pin
from worker.domain.events import PIN_SOURCE, PinFailed, PinLocation, PinQueued, make_event
from worker.domain.timestamp import format_milliseconds
from worker.jobs.services import Services
from worker.store.pause import PROBE_SECONDS
from worker.store.store import Store

WAITS_SECONDS = (1.0, 2.0, 4.0)  # between attempts if Chert names no wait; then the pin is given up
MAX_RETRIES = 9  # ten attempts in all
SPREAD_SECONDS = 5.0  # so that not all pins go at once when a pause ends

log = structlog.get_logger("pins")

JobContext = dict[str, Any]
Result = dict[str, Any]


class SendPin(Pin):
    """Arguments of `send_pin`: a pin and the caller's own ids. Without an idempotency key, the job's id is the key."""

    idempotency_key: str = ""
    reference: str | None = None

    def pin(self, job_id: str) -> Pin:
        """Return the pin itself, the same in every run of the job."""
        key = self.idempotency_key or job_id
        if len(key) > limits.MAX_IDEMPOTENCY_KEY:
            key = hashlib.sha256(key.encode()).hexdigest()
        fields = self.model_dump(exclude={"reference", "idempotency_key"}, exclude_none=True)
        return Pin(**fields, idempotency_key=key)


async def send_pin(context: JobContext, arguments: SendPin) -> Result:
    """Send a one-time pin through Chert; return its result, or have the job run again later."""
    sending = _Sending(context, arguments)
    return await sending.run()


class _Sending:
    """One run of one job."""

    def __init__(self, context: JobContext, arguments: SendPin) -> None:
        self._services: Services = context["services"]
        self._store: Store = self._services.store
        self._job_id: str = context["job_id"]
        self._arguments = arguments
        self._pin = arguments.pin(self._job_id)
        self._patience = 0.0
        self._code: int | None = None
        self._possibly_sent = False

    async def run(self) -> Result:
        chert = self._services.need_chert()
        pins = self._store.pins
        settled, self._patience, self._code, self._possibly_sent = await pins.open(self._job_id)
        if settled is not None:
            return settled
        permit = await self._store.pins_pause.permit()
        if permit != "probe" and permit > 0:
            return await self._wait_for_account(permit)
        outcome = await chert.send(self._pin.body())
        if not isinstance(outcome, Queued):
            self._code = self._code if outcome.code is None else outcome.code
            self._possibly_sent = self._possibly_sent or outcome.possibly_sent
        match outcome:
            case Failed(account_wide=True):
                return await self._pause(outcome, probe=permit == "probe")
            case Retry():
                return await self._try_again(outcome)
        if permit == "probe" and await self._store.pins_pause.end():
            log.warning("pins_resumed")
        if isinstance(outcome, Failed):
            return await self._fail(outcome.code, outcome.detail)
        return await self._succeed(outcome)

    # Waiting

    async def _pause(self, refusal: Failed, *, probe: bool) -> Result:
        """Pause all pins: Chert refuses the account, not this pin, until a person has acted."""
        reason = "Chert refuses the account" + ("" if refusal.code is None else f", code {refusal.code}")
        remedy = "check CHERT_SIGNING_SECRET, CHERT_TENANT and this machine's clock; pins then resume by themselves"
        if await self._store.pins_pause.begin(reason):
            log.error("pins_paused", reason=reason, remedy=remedy)
        elif probe:
            log.error("pins_still_paused", reason=reason, remedy=remedy)
        return await self._wait_for_account(PROBE_SECONDS)

    async def _wait_for_account(self, seconds: float) -> Result:
        metrics.PINS.labels("paused").inc()
        seconds += random.uniform(0.0, SPREAD_SECONDS)
        if seconds > self._patience:
            detail = "Chert has refused the whole account for as long as this job could wait"
            return await self._fail(self._code, detail if self._possibly_sent else f"not sent: {detail}")
        return await self._put_off(seconds)

    async def _try_again(self, outcome: Retry) -> Result:
        tries = await self._store.pins.count_retry(self._job_id, advised=outcome.after is not None)
        if outcome.after is not None:
            seconds = outcome.after
            given_up = tries.all > MAX_RETRIES
        else:
            given_up = tries.all > MAX_RETRIES or tries.unadvised > len(WAITS_SECONDS)
            seconds = 0.0 if given_up else WAITS_SECONDS[tries.unadvised - 1]
        if given_up or seconds > self._patience:
            return await self._fail(self._code, f"given up after {tries.all} attempts: {outcome.reason}")
        metrics.PINS.labels("uncertain" if outcome.possibly_sent else "retried").inc()
        log.info("pin_delayed", reason=outcome.reason, seconds=seconds)
        return await self._put_off(seconds)

    async def _put_off(self, seconds: float) -> NoReturn:
        await self._store.pins.put_off(self._job_id, code=self._code, possibly_sent=self._possibly_sent)
        raise arq.Retry(defer=seconds)

    # Settling

    async def _succeed(self, outcome: Queued) -> Result:
        data = PinQueued(
            outcome.message_id, outcome.phone_line_id, self._pin.external_id, _location(self._pin, outcome.location)
        )
        result = {"status": "queued", "message_id": outcome.message_id, "phone_line_id": outcome.phone_line_id}
        metrics.PINS.labels("queued").inc()
        return await self._settle(result, data)

    async def _fail(self, code: int | None, detail: str) -> Result:
        if self._possibly_sent:
            detail += "; it may have been sent"
        result = {"status": "failed", "code": code, "detail": detail}
        metrics.PINS.labels("failed").inc()
        # Before the result: a crash between the two then leaves two letters instead of none.
        await self._services.keep_job(
            self._job_id.encode(),
            "pin_failed",
            {"code": code, "fault": detail},
            reference=self._arguments.reference or "",
        )
        return await self._settle(result, PinFailed(code, detail, self._pin.external_id))

    async def _settle(self, result: Result, data: PinQueued | PinFailed) -> Result:
        pins = self._store.pins
        event = make_event(
            data,
            scope=self._pin.idempotency_key,
            source=PIN_SOURCE,
            subject=self._pin.phone or "",
            time=format_milliseconds(await pins.now()),
            sequence=1,
            reference=self._arguments.reference or "",
        )
        kept = await pins.settle(self._job_id, result, event)
        log.info("pin_settled", status=kept["status"], code=kept.get("code"))
        return kept


def _location(pin: Pin, said: dict[str, Any]) -> PinLocation:
    """Return the location as Chert returned it, or else the coordinates that were sent."""
    try:
        return msgspec.convert({"latitude": pin.latitude, "longitude": pin.longitude, **said}, PinLocation)
    except msgspec.ValidationError:
        return PinLocation(pin.latitude, pin.longitude)
