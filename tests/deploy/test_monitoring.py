"""Alerts and dashboard: valid, tested, and about metrics that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from worker import metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "location-worker.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
SEVERITIES = {"critical", "warning", "info"}

with_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (package prometheus) is missing")


def samples(*registries: CollectorRegistry) -> dict[str, set[str]]:
    """Return the samples that processes expose, by name, with the values of their label."""
    found: dict[str, set[str]] = {}
    for registry in registries:
        for family in registry.collect():
            if family.type == "gauge":
                found[family.name] = set()
            for sample in family.samples:
                labels = {value for name, value in sample.labels.items() if name != "le"}
                found.setdefault(sample.name, set()).update(labels)
            if family.type == "histogram":  # exposes its buckets only after the first observation
                found |= {f"{family.name}_{part}": set() for part in ("bucket", "count", "sum")}
    return found


KNOWN = samples(metrics.WORKER, metrics.WEB)


@pytest.mark.parametrize("query", [*QUERIES, *(alert["expr"] for alert in ALERTS)])
def test_a_query_names_metrics_and_labels_that_exist(query: str) -> None:
    selectors = re.findall(r"(location_\w+)(?:\{(\w+)[!=]~?\"([^\"]+)\"\})?", query)
    assert selectors
    for name, label, values in selectors:
        assert name in KNOWN
        if label:
            assert set(values.split("|")) <= KNOWN[name]


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(QUERIES)
    families = {family.name for registry in (metrics.WORKER, metrics.WEB) for family in registry.collect()}
    assert {name for name in families if name not in shown} == set()


def test_panels_do_not_lie_on_one_another() -> None:
    cells = [
        (column, row)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_alert_has_a_severity_and_says_what_to_do() -> None:
    assert all(alert["labels"]["severity"] in SEVERITIES for alert in ALERTS)
    assert all(set(alert["annotations"]) == {"summary", "description"} for alert in ALERTS)


@with_promtool
def test_the_alerts_are_valid_and_rise_when_they_should() -> None:
    for task, path in (("check", RULES), ("test", RULES.with_name("rules.test.yml"))):
        done = subprocess.run(["promtool", task, "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test() -> None:
    tests = RULES.with_name("rules.test.yml").read_text()
    assert {alert["alert"] for alert in ALERTS if alert["alert"] not in tests} == set()


@with_promtool
def test_the_queries_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    queries = [query.replace("$__rate_interval", "5m") for query in QUERIES]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "queries.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
