"""The pages keep up with the code, and their links lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from config.settings import Settings, names_of
from simulator.cast import add_cast
from simulator.harness import SimulatorServer
from worker import metrics
from worker.cli import cli
from worker.domain.events import EVENT_TYPES
from worker.jobs.handlers import JOBS
from worker.text import RULES

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
TRACKED = set(
    subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
)
PAGES = sorted(name for name in TRACKED if name.endswith(".md"))
INTERNAL = {"hear_webhook", "end_sharing"}  # jobs that only this program queues
MAX_README_WORDS = 750  # without code; longer text belongs in docs/
_SAID = re.compile(r'\blog\.(?:warning|error|exception)\(\s*"(\w+)"')


def test_every_setting_is_explained() -> None:
    explained = (REFERENCE / "settings.md").read_text()
    names = {name for field in Settings.model_fields for name in names_of(field)}
    assert {name for name in names if f"`{name}`" not in explained} == set()


@pytest.mark.parametrize("registry", [metrics.WORKER, metrics.WEB])
def test_every_metric_is_explained(registry: CollectorRegistry) -> None:
    names = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in registry.collect()}
    assert {name for name in names if f"`{name}" not in OPERATIONS} == set()


def test_every_warning_and_error_in_the_logs_is_explained() -> None:
    said = {name for path in (ROOT / "worker").rglob("*.py") for name in _SAID.findall(path.read_text())}
    assert len(said) > 10, "the log lines were found"
    assert {name for name in said if f"`{name}`" not in OPERATIONS} == set()


def test_every_job_is_explained_and_in_the_readme() -> None:
    readme, explained = (ROOT / "README.md").read_text(), (REFERENCE / "jobs.md").read_text()
    assert {name for name in JOBS if f"`{name}`" not in readme} == INTERNAL
    assert {name for name in JOBS if f"## {name}" not in explained} == INTERNAL


def test_every_event_type_is_explained() -> None:
    explained = (REFERENCE / "events.md").read_text()
    assert {name for name in EVENT_TYPES if name not in explained} == set()


def test_every_rule_of_the_policy_is_explained() -> None:
    table = (
        (ROOT / "docs" / "architecture.md").read_text().partition("| rule | the next read |")[2].partition("\n\n")[0]
    )
    explained = {name for row in table.splitlines() for name in re.findall(r"`([a-z-]+)`", row.rpartition(" |")[0])}
    assert set(RULES) == explained


def test_every_command_is_named() -> None:
    text = "".join((ROOT / page).read_text() for page in PAGES)
    assert {name for name in cli.commands if not re.search(rf"(location-worker |`){name}\b", text)} == set()


def test_the_chats_of_the_first_steps_are_those_that_the_simulation_has() -> None:
    named = re.findall(r"^CHAT ?= ?\"?([0-9a-f-]{36})", (ROOT / "docs/first-steps.md").read_text(), re.MULTILINE)
    with SimulatorServer() as simulator:
        assert named == add_cast(simulator, 2)


def test_the_readme_is_short() -> None:
    prose = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert len(prose.split()) <= MAX_README_WORDS


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_every_page_that_is_cited_is_in_the_repository() -> None:
    known = TRACKED | {Path(page).name for page in PAGES}
    missing = {
        f"{name}: {cited}"
        for name in TRACKED
        if Path(name).suffix in {".py", ".lua", ".js", ".mjs", ".md", ".toml", ".yaml"}
        for cited in re.findall(r"[\w./-]*\w\.md\b", (ROOT / name).read_text())
        # A page may be cited by its path from the root, by its path from the citing file, or by its name alone.
        if cited.removeprefix("/") not in known and not (ROOT / name).parent.joinpath(cited).exists()
    }
    assert missing == set()
