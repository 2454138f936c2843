"""Ask a contact for the location, and follow it as a member of a consumer group until the share ends.

pip install redis
python follow.py CHAT_ID [REFERENCE]
"""

import json
import os
import sys
import time
import uuid
from typing import Any

import redis

PREFIX = os.environ.get("KEY_PREFIX", "location")
STREAM, GROUP, CONSUMER = f"{PREFIX}:events", "dispatch", "dispatch-1"

client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0"), decode_responses=True)


def cloud_event(fields: dict[str, str]) -> dict[str, Any]:
    """Return the CloudEvent of an entry: its fields are the attributes, its data is JSON."""
    return {**fields, "data": json.loads(fields["data"])}


def queue(function: str, **arguments: Any) -> str:
    """Queue a job; return its id."""
    job_id, now = str(uuid.uuid4()), int(time.time() * 1000)
    body: dict[str, Any] = {"t": None, "f": function, "a": [], "k": arguments, "et": now}
    with client.pipeline(transaction=True) as transaction:
        transaction.set(f"arq:job:{job_id}", json.dumps(body), px=86_400_000)
        transaction.zadd(f"{PREFIX}:jobs", {job_id: now})
        transaction.execute()
    return job_id


def result_of(job_id: str) -> Any:
    """Wait for the answer of a job. Raises RuntimeError if it failed."""
    while not client.exists(f"arq:result:{job_id}"):
        time.sleep(0.2)
    result: Any = json.loads(str(client.get(f"arq:result:{job_id}")))
    if not result["s"]:
        raise RuntimeError(f"{result['r']['error']}: {result['r']['detail']}")
    return result["r"]


def create_group() -> None:
    """Create the consumer group if it does not exist yet."""
    try:
        client.xgroup_create(STREAM, GROUP, "$", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise


def follow(reference: str) -> None:
    """Print the events until the share with this reference ends."""
    # Delivery is at least once, but the same fact always has the same id. Keep the ids where you store your results.
    seen: set[str] = set()
    start = "0"  # first what this consumer received before and has not acknowledged, then what is new
    while True:
        read: Any = client.xreadgroup(GROUP, CONSUMER, {STREAM: start}, count=100, block=5000)
        entries = read[0][1] if read else []
        if start == "0" and not entries:
            start = ">"
        for entry_id, fields in entries:
            event = cloud_event(fields) if fields else None  # an entry that was trimmed has no fields
            if event and event["id"] not in seen:
                seen.add(event["id"])
                print(json.dumps(event), flush=True)
            client.xack(STREAM, GROUP, entry_id)
            if event and event["type"] == "location.tracking.ended" and event.get("reference") == reference:
                return


def main(chat_id: str, reference: str = "order-7") -> None:
    """Ask and follow."""
    create_group()  # before the job, so that no event is missed
    print(result_of(queue("request_location", chat_id=chat_id, reference=reference)), file=sys.stderr)
    follow(reference)


if __name__ == "__main__":
    main(*sys.argv[1:])
