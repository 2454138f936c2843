"""The package exports the names that it lists, and loads only what is used."""

import subprocess
import sys

import pytest

import location_client


@pytest.mark.parametrize("name", location_client.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(location_client, name)


def test_another_name_is_an_error_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'location_client' has no attribute 'connect'"):
        _ = location_client.connect  # type: ignore[attr-defined]


def test_bounds_and_forms_do_not_wait_for_redis_py() -> None:
    code = "import sys, location_client.limits; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
