"""Draws a world from a seed: the account, the quirks of Charge, the settings, and what happens to every process.

Invariant: everything follows from the seed. Neighbours: `documents` draws the sources, `world` plays the world.
"""

import dataclasses
import datetime
import random
from collections.abc import Mapping, Sequence
from typing import Literal

from tests.simulation import audit, fault_points
from tests.support import clocks
from worker.core.model.desired import Mode
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.pacing import retry_policy
from worker.core.safety import guard
from worker.sandbox import fake_data, faults, quirks, state

KINDS = (
    *("any",) * 6,
    *("POST", "POST answered") * 6,
    *("GET", "GET answered") * 2,
    *("begin", "begin answered", "record", "record answered") * 3,
    *("open", "open answered", "check", "check answered", "finish", "finish answered", "remember", "source", "peek"),
)
"""Where incidents happen; the points that matter most are drawn most often."""

INCIDENTS = (
    *("crash",) * 12,
    *("stop", "cut", "revoke", "lose lock", "fill disk", "stumble", "pause", "others", "edit") * 2,
    *("edit",) * 6,
)


_WRONG_CLOCKS = 0.1
"""The probability that the clock of a process is set. It is drawn apart from the rest, so that seeds stay worlds."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of an account."""

    mode: Mode
    limits: guard.Limits
    policy: retry_policy.RetryPolicy
    page_size: int
    rate: float
    burst: int
    adaptive: bool
    concurrency: int
    timeout: float
    grace: datetime.timedelta
    late_effects: datetime.timedelta


@dataclasses.dataclass(frozen=True)
class ProcessSpec:
    """One process: how many runs it makes, what happens to it, and how long no process runs afterwards.

    `saved_plans` is the probability that a run is the application of a saved plan. `faults` are the probabilities of
    faults of any request, `write_faults` those of writes in addition. `others` and `others_around` are how often other
    writers act at any point, and right around a request to their driver. `second_host` is set if another host with its
    own journal and its own version of the documents runs meanwhile.
    """

    incidents: tuple[fault_points.Incident, ...]
    runs: int
    interval: float
    pause: float
    edits: bool
    spoilt: bool
    others: float
    others_around: float
    second_host: bool
    saved_plans: float
    slowness: float
    faults: Mapping[str, float]
    write_faults: Mapping[str, float]


Quirks = quirks.Quirks


@dataclasses.dataclass(frozen=True)
class Spec:
    """A world before anything happens in it."""

    seed: int
    settings: Settings
    quirks: Quirks
    boundaries: tuple[datetime.datetime, ...]
    processes: tuple[ProcessSpec, ...]
    approving: bool
    journal: Literal["memory", "SQLite", "PostgreSQL"]


def spec(seed: int, account: audit.RecordedState) -> Spec:
    """Populate the account, and draw everything else about a world except its documents."""
    chance = random.Random(f"world {seed}")
    _populate(account, chance)
    hours = sorted(chance.choice((0.01, 0.1, 1.0, 14.0, 26.0)) * (1 + chance.random()) for _ in range(4))
    drawn = Spec(
        seed=seed,
        settings=_settings(chance, account),
        quirks=_quirks(chance),
        boundaries=tuple(clocks.NOON + datetime.timedelta(hours=each) for each in hours),
        processes=tuple(_process(chance) for _ in range(chance.choice((1, 1, 2, 2, 3)))),
        approving=chance.random() < 0.5,
        journal=chance.choice((*("memory",) * 37, "SQLite", "SQLite", "PostgreSQL")),
    )
    return _with_wrong_clocks(drawn, generator(seed, "clocks")) if drawn.quirks.date_header else drawn


def _with_wrong_clocks(drawn: Spec, chance: random.Random) -> Spec:
    """Add an incident in some processes: the machine's clock is set to a wrong time. Only Charge's `Date` tells."""
    processes = [
        dataclasses.replace(
            each, incidents=(*each.incidents, fault_points.Incident("any", chance.randint(1, 80), "set clock"))
        )
        if chance.random() < _WRONG_CLOCKS
        else each
        for each in drawn.processes
    ]
    return dataclasses.replace(drawn, processes=tuple(processes))


def without_obstacles(charge: quirks.Quirks) -> quirks.Quirks:
    """Return the same quirks without those that make convergence impossible."""
    return dataclasses.replace(charge, page_cap=None, total_drivers_offset=0, read_only=False, rate=None)


def _populate(account: audit.RecordedState, chance: random.Random) -> None:
    count = chance.choice((1, 2, 3, 3, 4, 5, 6))
    names = [f"Fleet {number}" for number in range(count)]
    if count > 2 and chance.random() < 0.15:
        names[1] = names[0]
    odd: tuple[state.Status, ...] = ("active",) * 12 + ("suspended", "archived")
    fleets = [account.add_fleet(name=name, status=chance.choice(odd)) for name in names]
    drivers = 3 + int(27 * chance.random() ** 2)
    for number in range(drivers):
        account.add_driver(
            email=f"{'Driver' if number % 5 == 0 else 'driver'}{number}@example.com",
            metadata={"employee_id": f"{number:04d}", "depot": str(number % 4)},
            fleets=chance.sample(fleets, min(count, chance.choice((0, 1, 1, 2, 2, 3)))),
            status=chance.choice(odd),
        )


def _settings(chance: random.Random, account: audit.RecordedState) -> Settings:
    rate = chance.choice((0.5, 2.0, 5.0, 25.0, 100.0, 1000.0))
    return Settings(
        mode=Mode.ADDITIVE if chance.random() < 0.1 else Mode.EXACT,
        limits=_limits(chance, account),
        policy=retry_policy.RetryPolicy(
            chance.choice((1, 2, 3, 4, 6)), chance.choice((0.05, 0.5)), chance.choice((1.0, 30.0))
        ),
        page_size=chance.choice((1, 2, 3, 5, 10, 100)),
        rate=rate,
        burst=chance.choice((1, 2, 5, 10)),
        adaptive=chance.random() < 0.7,
        concurrency=chance.choice((1, 2, 4, 16)),
        timeout=chance.choice((1.0, 5.0)),
        grace=datetime.timedelta(minutes=chance.choice((0, 0, 0, 5, 90))),
        late_effects=datetime.timedelta(seconds=chance.choice((40, 120, 600))),
    )


def _limits(chance: random.Random, account: audit.RecordedState) -> guard.Limits:
    must_see = frozenset[tuple[DriverId, FleetId]]()
    if chance.random() < 0.1 and account.memberships():
        driver, fleet = chance.choice(sorted(account.memberships()))
        must_see = frozenset({(DriverId(driver), FleetId(fleet))})
    if chance.random() < 0.6:
        return guard.Limits(1.0, 1.0, allow_emptying_fleets=chance.random() < 0.7, must_see=must_see)
    return guard.Limits(
        max_detach_fraction_per_fleet=chance.choice((0.1, 0.25, 0.5)),
        max_detach_fraction=chance.choice((0.05, 0.1, 0.5)),
        always_allow=chance.choice((0, 1, 2)),
        must_see=must_see,
    )


_ADMISSIONS: tuple[quirks.Admission, ...] = ("accept", "conflict", "policy_blocked", "ignore")


def _quirks(chance: random.Random) -> quirks.Quirks:
    list_lag, read_lag = chance.choice(((0.0, 0.0),) * 4 + ((3.0, 0.0), (10.0, 0.0), (3.0, 1.0)))
    limited = chance.random() < 0.4
    return quirks.Quirks(
        already_attached=chance.choice(("ok", "conflict")),
        not_attached=chance.choice(("ok", "conflict")),
        suspended_driver=chance.choice(_ADMISSIONS),
        archived_driver=chance.choice(_ADMISSIONS),
        suspended_fleet=chance.choice(_ADMISSIONS),
        archived_fleet=chance.choice(_ADMISSIONS),
        not_found=chance.choice(("precise", "combined")),
        read_only=chance.random() < 0.03,
        null_lists=chance.random() < 0.5,
        pages=chance.choice(("offset", "cursor")),
        page_cap=chance.choice((3, 10)) if chance.random() < 0.05 else None,
        unknown_filter=chance.choice(("not_found", "empty")),
        total_drivers_offset=chance.choice((-1, 1)) if chance.random() < 0.05 else 0,
        rate=chance.choice((4.0, 20.0, 50.0)) if limited else None,
        limit=chance.choice(("bucket", "fixed", "sliding")),
        burst=chance.choice((None, 1, 5)),
        window_seconds=chance.choice((1.0, 1.0, 10.0)),
        retry_after=chance.choice(("none", "seconds", "date")),
        rate_limit_headers=chance.random() < 0.5,
        stored_5xx=chance.choice(("replay", "rerun", "outcome")),
        reused_key=chance.choice(("first_answer", "bad_request", "conflict")),
        latency_seconds=chance.choice((0.0, 0.02, 0.05, 0.3, 0.8)),
        list_lag_seconds=list_lag,
        read_lag_seconds=read_lag,
        injected_retry_after_seconds=chance.choice((1.0, 1.0, 7.0, 40.0)),
        late_seconds=chance.choice(((1.0, 30.0), (20.0, 30.0))),
        date_header=chance.random() < 0.8,
        request_id_header=chance.random() < 0.8,
        unknown_values=chance.random() < 0.3,
    )


def _process(chance: random.Random) -> ProcessSpec:
    incidents = tuple(
        fault_points.Incident(kind := chance.choice(KINDS), _nth(chance, kind), chance.choice(INCIDENTS))
        for _ in range(chance.choice((0, 1, 2, 2, 3, 4)))
    )
    return ProcessSpec(
        incidents=incidents,
        runs=chance.choice((1, 1, 2, 3)),
        interval=chance.choice((1.0, 1.0, 60.0, 300.0)),
        pause=chance.choice((0.5, 2.0, 10.0, 60.0, 3600.0, 13 * 3600.0, 25 * 3600.0)),
        edits=chance.random() < 0.5,
        spoilt=chance.random() < 0.1,
        others=chance.choice((0.0, 0.0, 0.005, 0.02, 0.1)),
        others_around=chance.choice((0.0, 0.0, 0.1, 0.4, 0.8)),
        second_host=chance.random() < 0.1,
        saved_plans=chance.choice((0.0, 0.0, 0.0, 0.5)),
        slowness=chance.choice((0.0, 0.002, 0.02, 0.2)),
        faults=_fault_rates(chance, sorted(faults.NAMES), none=0.5),
        write_faults=_fault_rates(chance, sorted(faults.NAMES.keys() - faults.LISTS), none=0.3),
    )


def _nth(chance: random.Random, kind: str) -> int:
    if kind == "any":
        return chance.randint(1, 120)
    return chance.randint(1, 30 if kind.startswith("GET") else 6 if kind.startswith(("POST", "check")) else 2)


def _fault_rates(chance: random.Random, names: Sequence[str], *, none: float) -> Mapping[str, float]:
    """Draw the probability of each fault; `none` is the probability that there are no faults."""
    if chance.random() < none:
        return {}
    drawn = {*chance.sample(names, chance.randint(1, 5)), *chance.sample(sorted(faults.LATE), chance.randint(0, 1))}
    return {name: chance.choice((0.02, 0.05, 0.1, 0.3, 0.3, 0.6, 1.0)) for name in sorted(drawn)}


def generator(seed: int, what: str) -> random.Random:
    """Return a random generator of its own for one purpose."""
    return fake_data.generator(audit.hash_of(seed, what))
