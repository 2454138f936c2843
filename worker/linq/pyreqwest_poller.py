"""Reading locations with pyreqwest: the poll path, where every microsecond is paid a million times."""

from datetime import timedelta

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import BuilderError, PyreqwestError, RequestError, RequestTimeoutError
from pyreqwest.response import Response

from worker.http import CONNECT_SECONDS, REPLY_LIMIT, USER_AGENT, CertificatesError, build_reply
from worker.linq.reply import ACCEPT, Failure, Reply, no_reply


class PyreqwestPoller:
    """A `Poller` on Rust's reqwest; at its best under uvloop. One pool for any number of reads at a time."""

    def __init__(self, *, base_url: str, api_key: str, timeout: float) -> None:
        """Build the client; raises ValueError where the key cannot stand in a header, CertificatesError."""
        self._prefix = f"{base_url.rstrip('/')}/v3/chats/"
        builder = (
            ClientBuilder()
            .default_headers({"Authorization": f"Bearer {api_key}", "Accept": ACCEPT, "Accept-Encoding": "identity"})
            .user_agent(USER_AGENT)
            .timeout(timedelta(seconds=timeout))
            .connect_timeout(timedelta(seconds=min(CONNECT_SECONDS, timeout)))
            .follow_redirects(False)
            # Unpacking would happen before the size is known: a few packed bytes could become gigabytes.
            .gzip(False)
            .brotli(False)
            .zstd(False)
            .deflate(False)
        )
        try:
            self._client = builder.build()
        except BuilderError:
            # Of what a builder is given only the authorities are looked at so late.
            raise CertificatesError from None
        self._get = self._client.get

    async def fetch(self, chat_id: str) -> Reply:
        """GET /v3/chats/{chat_id}/location, once. Raises nothing but CancelledError."""
        try:
            # Streaming costs 1 to 2 µs more than letting the client read it all, and bounds what is read.
            async with self._get(f"{self._prefix}{chat_id}/location").build_streamed() as response:
                body = await response.body_reader.read(REPLY_LIMIT + 1)
        except PyreqwestError as error:
            return no_reply(_failure(error))
        except ValueError:
            # The URL cannot be parsed.
            return no_reply("broken")
        status = response.status
        return build_reply(
            status,
            b"" if body is None else body.to_bytes(),
            _header(response, "retry-after") if status >= 400 else None,
            _header(response, "x-trace-id"),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _header(response: Response, name: str) -> str | None:
    try:
        return response.get_header(name)
    except ValueError:
        # Bytes that are no visible ASCII.
        return None


def _failure(error: PyreqwestError) -> Failure:
    # ConnectTimeoutError and ConnectError also stand for what happened after connecting: the causes know
    # better.
    if isinstance(error, RequestError) and any(
        "(Connect)" in cause["message"] for cause in error.details["causes"] or ()
    ):
        return "connect"
    return "timeout" if isinstance(error, RequestTimeoutError) else "broken"
