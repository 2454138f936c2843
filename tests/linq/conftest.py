"""What the tests of Linq's clients may ask for: an authority that the clients believe."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.polling import Kind
from worker.http import certificates


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[trustme.CA]:
    """Yield the authority whose certificates the clients accept."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    certificates.cache_clear()
    yield made
    certificates.cache_clear()


@pytest.fixture(params=["socket", "httpx"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each client of the poll path in turn."""
    chosen: Kind = request.param
    return chosen
