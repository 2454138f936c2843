import pytest

from tests.support.distributions import Distributions, build


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Return distributions built from the repository as it is now."""
    return build(tmp_path_factory.mktemp("dist"))
