"""How late arrivals at places are seen, with the rule for who comes near and without it, for the same requests.

`python -m benchmarks.places [--json] [--svg PATH]`; some minutes on one core, on a simulated clock. People walk along
recorded journeys, their phones publish as the simulator's do, and places lie where the journeys stay and end. Every
policy gets the same budget of requests and the same people.
"""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import simulated
from benchmarks.followers import DEFAULT_LIMITS, HANDLE, SCENARIO_LIMITS, Fixed, Worker, nanoseconds
from benchmarks.places_plot import render
from benchmarks.simulated import Answer, Chat, Fleet, Scenario
from simulator.movement import Cadence, Fix, Journey, metres, recording, recording_names
from worker.domain.decision import Limits
from worker.domain.observation import Position
from worker.domain.places import metres as metres_from
from worker.domain.places import outer_radius
from worker.domain.share import Place

PEOPLE = 60
HORIZON_SECONDS = 6 * 3600.0
WARMUP_SECONDS = 600.0
BURST = 2.0  # requests that the token bucket holds
LAG_SECONDS = (1.0, 4.0)  # from a position's time until it can be read
DWELL_SECONDS, DWELL_METRES = 240.0, 50.0  # a journey stays where it moves no further than this for this long
APART_METRES = 300.0  # between two places of one person
MAX_PLACES = 3  # per person
RADIUS_METRES = 150.0
SEEDS = {0.1: 16, 0.5: 6, 1.0: 4}  # more runs where fewer people have places, because there are fewer arrivals
SHARES = tuple(SEEDS)  # of the people who have places
INTERVALS = (600.0, 180.0, 60.0)  # seconds between two reads of one person, on average
FIXED, WITHOUT, WITH = PLOTTED = ("fixed interval", "rule switched off", "this worker")
SLOWER = "MIN_POLL_SECONDS=60"  # this worker with the default least interval
POLICIES = (*PLOTTED, SLOWER)


class Figure(msgspec.Struct, frozen=True):
    """One policy: delays of arrivals, and of the positions of everybody without places, in seconds.

    `with_places`: the share of the people who have some; `interval`: seconds between two reads of one person.
    `others` is not a number where everybody has places.
    """

    with_places: float
    interval: float
    policy: str
    arrivals: int
    mean: float
    p95: float
    others: float
    everybody: float
    requests: float


class Walkers(Fleet):
    """People on journeys: what can be read when, where it is, and how late arrivals were seen."""

    def __init__(self, scenario: Scenario, fixes: list[list[Fix]], places: list[list[Place]]) -> None:
        super().__init__(scenario)
        self.fixes = fixes
        self.places = places
        self._arrivals = [list(_arrivals(fixes[chat], places[chat])) for chat in range(len(fixes))]
        self.arrival_delays: list[float] = []

    def read(self, chat: int, now: float) -> Answer:
        """Read one chat, and note the delay of the arrivals that this read shows, or shows to be past."""
        first = self.read_until[chat]
        answer = super().read(chat, now)
        shown = range(first, self.read_until[chat])
        self.arrival_delays += [
            now - self.available[chat][update]
            for update in self._arrivals[chat]
            if update in shown and self.available[chat][update] >= WARMUP_SECONDS
        ]
        return answer

    def mean_delay(self, chats: list[int]) -> float:
        """Return the mean delay of all positions of these people."""
        delays = [delay for chat in chats for delay in self.delays[chat]]
        return sum(delays) / len(delays) if delays else math.nan


def _arrivals(fixes: list[Fix], places: list[Place]) -> Iterator[int]:
    """Yield the numbers of the positions that are the first inside a place after one outside."""
    for place in places:
        inside: bool | None = None
        for number, fix in enumerate(fixes):
            distance = metres_from(fix.longitude, fix.latitude, place)
            if distance <= place.radius:
                if inside is False:
                    yield number
                inside = True
            elif inside is None or distance > outer_radius(place):
                inside = False


class Walker(Worker):
    """The worker's own decisions about people who are somewhere; `aware`: it knows their places."""

    def __init__(self, fleet: Walkers, rate: float, random: Random, *, aware: bool, limits: Limits) -> None:
        super().__init__(rate, random, limits=limits)
        self._fleet = fleet
        self._aware = aware

    def known(self, chat: int, now: float, ends_at: float | None) -> None:
        """Begin to track, with the places where they are known."""
        super().known(chat, now, ends_at)
        if self._aware:
            self.shares[chat].places = self._fleet.places[chat]

    def shown(self, chat: int, updated_at: float, *, moved: bool) -> Position:
        """Return the position that a read showed."""
        del moved
        fix = self._fleet.fixes[chat][self._fleet.read_until[chat] - 1]
        return Position(HANDLE, fix.longitude, fix.latitude, None, None, None, nanoseconds(updated_at))


@cache
def _stays(name: str) -> list[Fix]:
    """Return where a recorded journey stays for a while, begins and ends, well apart."""
    record = recording(name)
    found = [record.fixes[0], record.fixes[-1]]
    first = 0
    while first < len(record.times):
        last = first
        while last + 1 < len(record.times) and metres(record.fixes[first], record.fixes[last + 1]) <= DWELL_METRES:
            last += 1
        if record.times[last] - record.times[first] >= DWELL_SECONDS:
            found.append(record.fixes[first])
        first = last + 1
    apart: list[Fix] = []
    for fix in found:
        if all(metres(fix, other) > APART_METRES for other in apart):
            apart.append(fix)
    return apart


def make_fleet(with_places: float, seed: int) -> Walkers:
    """Return people on journeys of their own, some of whom have places."""
    random = Random(seed)
    names = recording_names()
    chats, fixes, places = [], [], []
    for number in range(PEOPLE):
        record = recording(names[number % len(names)])
        journey = Journey(record, random.uniform(0, 2 * record.times[-1]), Cadence(), Random(1000 * seed + number))
        path = [(0.0, journey.fix)]
        for elapsed in range(1, int(HORIZON_SECONDS)):
            journey.advance(float(elapsed))
            if journey.published_at > path[-1][0]:
                path.append((journey.published_at, journey.fix))
        stays = random.sample(_stays(record.name), k=min(MAX_PLACES, len(_stays(record.name))))
        fixes.append([fix for _, fix in path])
        has = random.random() < with_places
        places.append(
            [Place(str(index), fix.latitude, fix.longitude, RADIUS_METRES) for index, fix in enumerate(stays)]
            if has
            else []
        )
        updates = [
            (at, random.uniform(*LAG_SECONDS), metres(path[max(0, index - 1)][1], fix))
            for index, (at, fix) in enumerate(path)
        ]
        chats.append(Chat(str(number), random.uniform(0, 5), None, end_known=False, updates=updates))
    scenario = Scenario(
        name="places",
        horizon_s=HORIZON_SECONDS,
        warmup_s=WARMUP_SECONDS,
        burst=BURST,
        mean_alive=float(PEOPLE),
        rates={},
        throttle=[],
        chats=chats,
        reference={},
        bounds={},
    )
    return Walkers(scenario, fixes, places)


def run(with_places: float, interval: float, policy: str) -> Figure:
    """Let one policy follow all fleets of a kind."""
    arrivals: list[float] = []
    others, everybody, requests = [], [], []
    for seed in range(SEEDS[with_places]):
        fleet = make_fleet(with_places, seed)
        rate = PEOPLE / interval
        if policy == FIXED:
            result = simulated.follow(fleet, Fixed(fleet.scenario, rate), rate)
        else:
            limits = DEFAULT_LIMITS if policy == SLOWER else SCENARIO_LIMITS
            walker = Walker(fleet, rate, Random(seed), aware=policy != WITHOUT, limits=limits)
            result = simulated.follow(fleet, walker, rate)
        arrivals += fleet.arrival_delays
        others.append(fleet.mean_delay([chat for chat in range(PEOPLE) if not fleet.places[chat]]))
        everybody.append(result.mean)
        requests.append(result.requests)
    return Figure(
        with_places=with_places,
        interval=interval,
        policy=policy,
        arrivals=len(arrivals),
        mean=sum(arrivals) / len(arrivals),
        p95=simulated.quantile(sorted(arrivals), 0.95),
        others=sum(others) / len(others),
        everybody=sum(everybody) / len(everybody),
        requests=sum(requests) / len(requests),
    )


def measure() -> list[Figure]:
    """Let every policy follow the same people, for each share with places and each budget."""
    return [
        run(with_places, interval, policy) for with_places in SHARES for interval in INTERVALS for policy in POLICIES
    ]


def show(console: Console, figures: list[Figure]) -> None:
    """Print a table; factors compare with the same fleet when the rule is switched off."""
    table = Table(title="Delay of arrivals, and of the positions of people without places, in seconds")
    for column in ("people with places", "one read in", "policy", "arrivals", "mean / p95", "factor", "others", "all"):
        table.add_column(column, justify="left" if column == "policy" else "right", no_wrap=True)
    for figure in figures:
        base = next(
            other
            for other in figures
            if (other.with_places, other.interval, other.policy) == (figure.with_places, figure.interval, WITHOUT)
        )
        table.add_row(
            f"{figure.with_places:.0%}",
            f"{figure.interval:.0f} s",
            figure.policy,
            str(figure.arrivals),
            f"{figure.mean:.1f} / {figure.p95:.1f}",
            f"{figure.mean / base.mean:.2f}",
            "" if math.isnan(figure.others) else f"{figure.others:.1f} ({figure.others / base.others - 1:+.1%})",
            f"{figure.everybody:.1f} ({figure.everybody / base.everybody - 1:+.1%})",
        )
    console.print(table)


def compare(console: Console, *, quick: bool = False) -> dict[str, Any]:
    """Measure and print. Return plain data for JSON; nothing is left out when `quick`: the clock is simulated."""
    del quick
    figures = measure()
    show(console, figures)
    return {"arrivals": msgspec.to_builtins(figures)}


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--svg", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write a plot, too.")
def main(*, as_json: bool, svg: Path | None) -> None:
    """Measure, print, and draw."""
    figures = measure()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(figures)))
    else:
        console = Console()
        show(console if console.is_terminal else Console(width=140), figures)
    if svg:
        svg.write_text(render(figures, PLOTTED), encoding="utf-8")


if __name__ == "__main__":
    main()
