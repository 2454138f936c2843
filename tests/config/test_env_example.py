""".env.example names every setting once, with its default."""

import re
from pathlib import Path

import pytest

from config import settings as settings_module
from config.settings import Settings, load_settings, names_of

_EXAMPLE = (Path(__file__).resolve().parents[2] / ".env.example").read_text()


def test_every_setting_is_there_once_in_the_order_of_the_settings() -> None:
    assert re.findall(r"^#?([A-Z0-9_]+)=", _EXAMPLE, re.MULTILINE) == [
        names_of(field)[0] for field in Settings.model_fields
    ]


def test_what_is_commented_out_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = tmp_path / "everything"
    everything.write_text(re.sub(r"^#(?=[A-Z0-9_]+=)", "", _EXAMPLE, flags=re.MULTILINE))
    monkeypatch.setattr(settings_module, "_FILE", everything)
    assert load_settings("client") == Settings(redis_url="redis://localhost:6379/0")


def test_as_it_stands_it_says_what_is_still_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = tmp_path / ".env"
    copied.write_text(_EXAMPLE)
    monkeypatch.setattr(settings_module, "_FILE", copied)
    with pytest.raises(settings_module.SettingsError, match=r"\ALINQ_API_V3_API_KEY: not set.*\Z"):
        load_settings("worker")
