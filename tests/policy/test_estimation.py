"""The estimate agrees with what the worker's decisions lead to for the same phones."""

from random import Random

import pytest

from benchmarks import followers, simulated
from worker.domain.decision import Limits
from worker.estimation import (
    MEASURED_SECONDS,
    SAMPLE,
    WARM_UP_SECONDS,
    Crowd,
    Terms,
    estimate,
    publish,
)

HORIZON = WARM_UP_SECONDS + MEASURED_SECONDS
FAR = 150.0  # metres: more than what counts as having moved


def replay(moving: float, terms: Terms) -> simulated.Result:
    """Follow phones like those of the estimate with the worker's own decisions."""
    random = Random(7)
    chats = [
        simulated.Chat(
            id=str(number),
            start=0.0,
            end=None,
            end_known=False,
            updates=[(at, 0.0, FAR if moves else 0.0) for at, moves in publish(random, moving, HORIZON)],
        )
        for number in range(SAMPLE)
    ]
    scenario = simulated.Scenario(
        name="estimate",
        horizon_s=HORIZON,
        warmup_s=WARM_UP_SECONDS,
        burst=1.0,
        mean_alive=SAMPLE,
        rates={},
        throttle=[],
        chats=chats,
        reference={},
        bounds={},
    )
    limits = Limits(min_poll=terms.min_interval, max_poll=terms.max_interval, stale_after=0.0)
    worker = followers.Worker(terms.rate, Random(7), limits=limits)
    return simulated.follow(simulated.Fleet(scenario), worker, terms.rate)


@pytest.mark.no_cover
@pytest.mark.parametrize("moving", [0.1, 0.7])
@pytest.mark.parametrize("least", [15.0, 60.0, 300.0])
@pytest.mark.parametrize("rate", [20.0, 0.5], ids=["plenty", "scarce"])
def test_it_agrees_with_the_decisions_of_the_worker(moving: float, least: float, rate: float) -> None:
    terms = Terms(least, 600.0, rate)
    replayed = replay(moving, terms)
    found = estimate(Crowd(SAMPLE, moving), terms)
    per_day = replayed.requests / HORIZON * 86_400
    # Two draws of a hundred people differ by a few per cent, most in how many of them move; so do an hour of learning
    # and the hours after it.
    assert found.requests_per_day == pytest.approx(per_day, rel=0.08)
    assert found.mean_delay == pytest.approx(replayed.mean, rel=0.12)
    assert found.p95_delay == pytest.approx(replayed.p95, rel=0.15)
    assert found.seen == pytest.approx(1 - replayed.missed, abs=0.08)


def test_more_people_cost_in_proportion_until_the_budget_is_used_up() -> None:
    terms = Terms(60.0, 600.0, 20.0)
    few, many, too_many = (estimate(Crowd(people, 0.3), terms) for people in (200, 1000, 20_000))
    assert many.requests_per_day == pytest.approx(5 * few.requests_per_day, rel=0.02)
    assert many.mean_delay == pytest.approx(few.mean_delay, rel=0.1)
    assert too_many.requests_per_day <= terms.rate * 86_400
    assert too_many.mean_delay > 5 * few.mean_delay


@pytest.mark.no_cover
@pytest.mark.parametrize("moving", [0.0, 1.0])
@pytest.mark.parametrize("people", [1, 3, 1_000_000])
def test_it_has_an_answer_for_every_crowd(people: int, moving: float) -> None:
    found = estimate(Crowd(people, moving), Terms(60.0, 600.0, 20.0))
    assert 0 < found.mean_delay < found.p95_delay
    assert 0 < found.seen <= 1
    assert 0 < found.budget <= 1.0
