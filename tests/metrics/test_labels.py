"""Counters expose every series from the start, so that the first event of a kind shows as an increase."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
COUNTERS = {  # in a process that has done nothing yet: how many series each name has
    "WORKER": {"polls": 14, "positions": 1, "requests": 6, "pins": 5, "dead_letters": 3},
    "WEB": {"webhooks": 11, "dead_letters": 3},
}


def shown(registry: str) -> dict[str, dict[str, float]]:
    """Return the counters that a new process exposes: the label values of each, by the counter's name."""
    program = (
        "from prometheus_client import generate_latest; from worker import metrics;"
        f"print(generate_latest(metrics.{registry}).decode())"
    )
    text = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if family.type == "counter" and sample.name.endswith("_total"):
                name = sample.name.removeprefix("location_").removesuffix("_total")
                found[name][next(iter(sample.labels.values()), "")] = sample.value
    return found


@pytest.mark.parametrize("registry", COUNTERS)
def test_a_new_process_shows_every_counter_at_0(registry: str) -> None:
    found = shown(registry)
    assert {name: len(series) for name, series in found.items()} == COUNTERS[registry]
    assert {value for series in found.values() for value in series.values()} == {0.0}


def test_whatever_is_counted_is_shown_from_the_start() -> None:
    names = {"WEBHOOKS": "webhooks", "PINS": "pins", "REQUESTS": "requests", "DEAD_LETTERS": "dead_letters"}
    known = {**shown("WORKER"), **shown("WEB")}
    counted = defaultdict(set)
    for path in (ROOT / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr=counter), attr="labels"),
                    args=[ast.Constant(value=str(label))],
                ) if counter in names:
                    counted[names[counter]].add(label)
    assert counted["pins"] >= {"queued", "failed"}, "the search finds what it is for"
    assert all(labels <= set(known[name]) for name, labels in counted.items())
