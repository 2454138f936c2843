"""The samples of docs/reference/events.md have the shape of what is really published."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.lives import events_of_every_type
from worker.domain.events import EVENT_TYPES, schema

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text()
SECTIONS = dict(re.findall(r"^### (location\..+?)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))


def samples() -> dict[str, Any]:
    """Return the sample of each type; types that share a section share its sample."""
    found: dict[str, Any] = {}
    for heading, text in SECTIONS.items():
        sample = json.loads(re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0])
        found |= dict.fromkeys(heading.split(" and "), sample)
    return found


def shape(value: Any) -> Any:
    """Return the names in an object, in order, without the values."""
    return {name: shape(part) for name, part in value.items()} if isinstance(value, dict) else None


def test_every_type_has_a_sample() -> None:
    assert set(samples()) == set(EVENT_TYPES)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_sample_fits_the_schema_of_its_type(event_type: str) -> None:
    jsonschema.Draft202012Validator(
        schema(event_type), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate(samples()[event_type])


def test_samples_have_the_fields_of_published_events_in_their_order() -> None:
    published = {event.type: shape(json.loads(event.data)) for event in events_of_every_type()}
    described = {name: shape(sample) for name, sample in samples().items() if name in published}
    assert json.dumps(described, sort_keys=False) == json.dumps({name: published[name] for name in described})
    assert len(described) == len(EVENT_TYPES) - 2, "all but pins, which have fields that Chert may leave out"
