"""Which proxy is used for a base URL, and the error for a proxy that cannot be used."""

import os
import re

import pytest
from structlog.testing import capture_logs

from config.settings import SettingsError
from tests.support.rawserver import answering, http_answer, raw_server
from worker.chert.client import ChertClient
from worker.linq.client import LinqClient
from worker.linq.httpx_poller import HttpxPoller
from worker.linq.poller import make_poller
from worker.linq.socket_poller import SocketPoller
from worker.proxies import Proxy, find_proxy

URL = "https://api.linq.example:8443/api/partner"
PROXY = "http://proxy.example:3128"
BY_HTTPS = Proxy(PROXY, "HTTPS_PROXY")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, BY_HTTPS),
        ({"https_proxy": PROXY}, Proxy(PROXY, "https_proxy")),
        ({"HTTP_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, Proxy(PROXY, "ALL_PROXY")),
        ({"ALL_PROXY": "socks5://proxy.example:1080", "HTTPS_PROXY": PROXY}, BY_HTTPS),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "proxy.example:3128"}, BY_HTTPS),
        ({"HTTPS_PROXY": "https://me:secret@proxy.example"}, Proxy("https://me:secret@proxy.example", "HTTPS_PROXY")),
    ],
)
def test_the_proxy_is_the_one_of_the_scheme_or_else_of_all(
    variables: dict[str, str], found: Proxy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    assert find_proxy(URL) == found


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        (URL, "*", True),
        (URL, "api.linq.example", True),
        (URL, "other.example, API.linq.example:8443", True),
        (URL, "linq.example", True),
        (URL, ".linq.example", True),
        (URL, "api.linq.example:443", False),
        (URL, "inq.example", False),
        (URL, "linq.example.org", False),
        (URL, "", False),
        # Entries as container platforms set them match no host here, and must do no harm.
        (URL, "fd00:7::/64,[::1],10.0.0.0/8,localhost,/,:,[", False),
        ("https://[fd00:7::25]:8443", "fd00:7::/64", True),
        ("https://[fd00:7::25]", "[fd00:7::]/64", True),
        ("https://[fd00:8::25]", "fd00:7::/64", False),
        ("https://[::1]:8443", "[::1]", True),
        ("https://[::1]", "::1", True),
        ("https://10.3.2.1", "localhost 10.0.0.0/8", True),
        ("https://10.3.2.1", "10.3.2.1/8", True),
        ("https://11.3.2.1", "10.0.0.0/8", False),
    ],
)
def test_hosts_that_are_listed_need_no_proxy(
    name: str, url: str, no_proxy: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, {"HTTPS_PROXY": PROXY, name: no_proxy})
    assert find_proxy(url) == (None if direct else BY_HTTPS)


@pytest.mark.parametrize(
    ("variable", "text", "shown"),
    [
        ("HTTPS_PROXY", "http://proxy:port", "http://proxy:port"),
        ("https_proxy", "http://me:hunter2@proxy:port", "•••@proxy:port"),
        ("ALL_PROXY", "socks5://proxy.example:1080", "socks5://proxy.example:1080"),
        ("ALL_PROXY", "http://", "http://"),
        ("HTTPS_PROXY", "http://[::1", "http://[::1"),
        ("HTTPS_PROXY", "http://proxy:99999", "http://proxy:99999"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named_with_what_is_accepted(
    variable: str, text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    accepted = f"^{variable}: given {re.escape(repr(shown))}; accepted: http://HOST:PORT .* add api.linq.example to NO"
    for make in (
        lambda: make_poller("socket", base_url=URL, api_key="k", timeout=1, window=1),
        lambda: make_poller("httpx", base_url=URL, api_key="k", timeout=1, window=1),
        lambda: LinqClient(base_url=URL, api_key="k"),
        lambda: ChertClient(base_url=URL, signing_secret="k"),
    ):
        with pytest.raises(SettingsError, match=accepted):
            make()
    # A wrong proxy is no error for hosts that do not use it.
    monkeypatch.setenv("NO_PROXY", "linq.example")
    async with LinqClient(base_url=URL, api_key="k"), ChertClient(base_url=URL, signing_secret="k"):
        pass


@pytest.mark.parametrize(("variables", "chosen"), [({}, SocketPoller), ({"HTTPS_PROXY": PROXY}, HttpxPoller)])
async def test_reads_go_through_httpx_where_a_proxy_applies(
    variables: dict[str, str], chosen: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    with capture_logs() as lines:
        poller = make_poller("socket", base_url=URL, api_key="k", timeout=1, window=1)
    await poller.close()
    assert type(poller) is chosen
    assert [(line["event"], line["taken"], line["cause"]) for line in lines] == (
        [("poll_client", "httpx", "a proxy applies: HTTPS_PROXY")] if variables else []
    )


async def test_commands_and_pins_go_through_the_proxy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(answering(http_answer(b"{}"))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//me:secret@"))
        async with LinqClient(base_url="http://linq.example", api_key="k") as linq:
            await linq.request_location("chat")
        async with ChertClient(base_url="http://chert.example", signing_secret="k") as chert:
            await chert.probe()
    assert [head.split(b" ")[1].split(b"/")[2] for head in proxy.requests] == [b"linq.example", b"chert.example"]
    assert all(b"proxy-authorization: basic " in head.lower() for head in proxy.requests)
