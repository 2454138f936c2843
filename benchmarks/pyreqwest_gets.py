"""Bare GETs with pyreqwest, for the part `ideas`: prints the microseconds of CPU of each.

`python -m benchmarks.pyreqwest_gets URL VERSION LOOP CERTIFICATE`, by the Python of `benchmarks/.venv`: the
worker has no such client.
"""

# The package lives in benchmarks/.venv only.
# mypy: disable-error-code="import-not-found"

import asyncio
import os
import sys
from itertools import cycle
from pathlib import Path

import uvloop
from pyreqwest.client import ClientBuilder

from benchmarks.gets import chat_ids, timed


async def main(url: str, version: str, certificate: bytes) -> None:
    builder = ClientBuilder().http2(version == "HTTP/2.0").default_headers({"Authorization": "Bearer benchmark"})
    if certificate:
        builder = builder.add_root_certificate_pem(certificate)
    urls = cycle([f"{url}/v3/chats/{chat_id}/location" for chat_id in chat_ids()])
    async with builder.build() as client:

        async def fetch() -> None:
            reply = await client.get(next(urls)).build().send()
            await reply.bytes()
            if reply.version != version:
                message = f"the stand-in answered over {reply.version}, asked for was {version}"
                raise RuntimeError(message)

        print(await timed(fetch))


if __name__ == "__main__":
    URL, VERSION, LOOP, CERTIFICATE = sys.argv[1:]
    pem = Path(CERTIFICATE).read_bytes() if CERTIFICATE else b""
    (uvloop.run if LOOP == "uvloop" else asyncio.run)(main(URL, VERSION, pem))
    sys.stdout.flush()
    # pyreqwest's thread may still be running, and would abort Python while it exits.
    os._exit(0)
