"""The worker's own code meets the acceptance bounds of its polling policy, on a simulated clock.

Each share is decided on by `worker.domain`, as in the worker, from its beginning to its end. What the scenarios mean,
and where their bounds come from, is explained in benchmarks/simulated.py and benchmarks/waiting.py.
"""

from random import Random

import pytest

from benchmarks import followers, simulated, waiting

SEEDS = range(3)
pytestmark = pytest.mark.no_cover  # the simulation takes three times as long with coverage

FLEETS = {
    name: simulated.load(name)
    for name in ("periodic", "poisson", "onoff", "traces", "mixed", "mixed-small", "churn", "throttled")
}


@pytest.mark.parametrize(
    ("name", "budget"), [(name, budget) for name, fleet in FLEETS.items() for budget in fleet.rates]
)
def test_tracking_is_as_fresh_as_the_budget_allows(name: str, budget: str) -> None:
    scenario = FLEETS[name]
    rate, bounds = scenario.rates[budget], scenario.bounds[budget]
    fixed = followers.fixed(scenario, rate, Random(0))

    result = simulated.average([followers.recommended(scenario, rate, Random(seed)) for seed in SEEDS])

    assert result.mean <= bounds.mean_max
    assert result.p95 <= bounds.p95_max
    assert result.worst_decile <= bounds.worst_decile_max
    assert result.requests <= bounds.requests_max
    assert result.throttled <= bounds.throttled_max
    assert result.mean / fixed.mean <= bounds.mean_vs_fixed_max


@pytest.mark.parametrize("policy", ["fixed", "clairvoyant"])
@pytest.mark.parametrize("name", ["mixed", "traces"])
def test_the_simulated_clock_agrees_with_the_reference_about_policies_without_choices(name: str, policy: str) -> None:
    scenario = FLEETS[name]
    expected = scenario.reference["medium"][{"fixed": "fixed", "clairvoyant": "clairvoyant_rate_limited"}[policy]]

    result = getattr(followers, policy)(scenario, scenario.rates["medium"], Random(0))

    assert result.mean == pytest.approx(expected["mean"], rel=0.05)
    assert result.p95 == pytest.approx(expected["p95"], rel=0.05)


def test_the_quiet_time_pays_where_phones_publish_regularly() -> None:
    scenario = FLEETS["periodic"]
    rate = scenario.rates["ample"]

    alone = followers.square_root(scenario, rate, Random(0))
    whole = followers.recommended(scenario, rate, Random(0))

    assert whole.mean < 0.75 * alone.mean
    assert whole.requests < alone.requests


@pytest.mark.parametrize("name", ["pending-nohook", "pending-heavy", "pending-hook"])
def test_an_accepted_request_is_noticed_in_time(name: str) -> None:
    scenario = waiting.load(name)
    bounds = scenario.bounds

    results = [waiting.await_all(scenario, Random(seed)) for seed in SEEDS]
    mean, p95, polls, detected = (sum(values) / len(results) for values in zip(*results, strict=True))

    assert mean <= bounds.mean_max
    assert p95 <= bounds.p95_max
    assert polls <= bounds.polls_per_chat_max
    assert detected >= bounds.detected_min
