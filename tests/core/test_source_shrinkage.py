"""Sources that lose rows: the baseline as the documentation defines it, and what the guard does with it."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import plans, worlds
from tests.core.worlds import DEPOT, NORTH, VANS
from worker.core.model.identifiers import FleetId
from worker.core.model.plan import Action, Change, Plan
from worker.core.model.plan_digest import held_digest
from worker.core.model.source_history import RowCount, ShrunkSource, SourceRecord, SourceSize
from worker.core.safety import guard, source_shrinkage

HOUR = datetime.timedelta(hours=1)
DAY = 24 * HOUR
HR = "hr"


class History:
    """Runs of one source, as the engine makes them: evaluated by the guard, and remembered."""

    def __init__(self, *, fraction: float = 0.10) -> None:
        self.fractions = {HR: fraction}
        self.records: Mapping[str, SourceRecord] = {}
        self.now = worlds.NOW

    def run(
        self, rows: int, *, after: datetime.timedelta = HOUR, fleets: Sequence[FleetId] = (VANS,), approve: bool = False
    ) -> tuple[ShrunkSource, ...]:
        """Read so many rows; return what has shrunk."""
        self.now += after
        sizes = {HR: SourceSize(rows, frozenset(fleets))}
        shrunk = source_shrinkage.find_shrunk(sizes, self.baselines(), self.fractions)
        self.records = {
            **self.records,
            **source_shrinkage.updated_records(
                sizes,
                self.records,
                held=() if approve else shrunk,
                approved=shrunk if approve else (),
                now=self.now,
            ),
        }
        return shrunk

    def baselines(self) -> Mapping[str, SourceSize]:
        return source_shrinkage.baselines(self.records, since=self.now - DAY)


# --- Laws -------------------------------------------------------------------------------------------------

RUNS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30), st.booleans()), max_size=30)
"""The rows, the hours since the run before, and whether an approval is there if one is needed."""


@worlds.LAW
@given(RUNS, st.sampled_from([0.0, 0.1, 0.25, 1.0]))
def test_the_baseline_is_that_of_the_definition(runs: list[tuple[int, int, bool]], fraction: float) -> None:
    """Computed again from every run, without leaving anything out."""
    history, good = History(fraction=fraction), list[tuple[datetime.datetime, int]]()
    for rows, hours, approve in runs:
        now = history.now + hours * HOUR
        recent = [count for seen, count in good if seen >= now - DAY]
        baseline = max(recent) if recent else good[-1][1] if good else rows
        trips = baseline - rows > 2 and (baseline - rows) / baseline > fraction
        shrunk = history.run(rows, after=hours * HOUR, approve=approve)
        assert [(each.rows, each.baseline) for each in shrunk] == ([(rows, baseline)] if trips else [])
        if trips and approve:
            good.clear()
        if not trips or approve:
            good.append((now, rows))


@worlds.LAW
@given(RUNS)
def test_what_is_remembered_falls_strictly(runs: list[tuple[int, int, bool]]) -> None:
    history = History()
    for rows, hours, approve in runs:
        history.run(rows, after=hours * HOUR, approve=approve)
        counts = [count.rows for count in history.records[HR].counts]
        assert counts == sorted(set(counts), reverse=True)


@worlds.LAW
@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 100))
def test_the_fraction_is_exact(before: int, rows: int, percent: int) -> None:
    """Rounding never trips the guard or keeps it quiet, at any percentage; a loss of one or two rows never trips it."""
    sizes, baseline = {HR: SourceSize(rows)}, {HR: SourceSize(before)}
    shrunk = source_shrinkage.find_shrunk(sizes, baseline, {HR: percent / 100})
    assert bool(shrunk) is (before - rows > 2 and 100 * (before - rows) > percent * before)


@worlds.LAW
@given(worlds.worlds(), plans.limits(), st.integers(0, 3))
def test_no_detach_leaves_a_fleet_of_a_source_that_shrank(
    world: worlds.World, limits: guard.Limits, number: int
) -> None:
    plan = world.plan()
    name = f"source-{number}.yaml"
    shrunk = dataclasses.replace(plan, sources={**plan.sources, name: dataclasses.replace(size(plan, name), rows=0)})
    history = guard.GuardHistory(sources={name: SourceSize(10, frozenset({NORTH}))})
    decision = guard.evaluate(shrunk, world.actual, limits, history)
    assert [each.name for each in decision.shrunk] == [name]
    protected = size(plan, name).fleets | {NORTH}
    assert not [each for each in decision.allowed if each.action is Action.DETACH and each.fleet in protected]
    others = guard.evaluate(plan, world.actual, limits)
    assert [each for each in others.allowed if each.fleet not in protected] == [
        each for each in decision.allowed if each.fleet not in protected
    ]


def size(plan: Plan, name: str) -> SourceSize:
    return plan.sources.get(name, SourceSize(0))


# --- The baseline -----------------------------------------------------------------------------------------


def test_a_tenth_of_the_rows_may_go_and_one_more_is_held() -> None:
    history = History()
    assert history.run(100) == ()
    assert history.run(90) == ()
    (shrunk,) = history.run(89)
    assert (shrunk.name, shrunk.rows, shrunk.baseline) == (HR, 89, 100)
    assert shrunk.message == (
        "source hr has 89 rows instead of 100: it lost 11.0%, more than max_shrink_fraction = 0.1"
    )


@pytest.mark.parametrize(("before", "after"), [(1, 0), (2, 0), (3, 1), (4, 2)])
def test_a_loss_of_one_or_two_rows_is_never_held(before: int, after: int) -> None:
    history = History(fraction=0.0)
    history.run(before)
    assert history.run(after) == ()


def test_a_loss_of_three_rows_is_held() -> None:
    history = History()
    history.run(3)
    assert history.run(0)


def test_many_small_losses_within_the_window_add_up() -> None:
    history = History()
    for rows in (100, 96, 92):
        assert history.run(rows) == ()
    assert history.run(88)


def test_a_source_may_shrink_slowly() -> None:
    history = History()
    for rows in (100, 92, 84, 76, 69):
        assert history.run(rows, after=DAY + HOUR) == ()


def test_waiting_does_not_lower_the_baseline() -> None:
    """The run of ten days ago is compared with, because every run since then was held."""
    history = History()
    history.run(100)
    for _ in range(10):
        assert [each.baseline for each in history.run(50, after=DAY)] == [100]


def test_the_last_good_run_counts_however_old_it_is() -> None:
    history = History()
    history.run(100)
    assert history.run(50, after=400 * DAY)


def test_a_source_that_recovers_is_not_held() -> None:
    history = History()
    history.run(100)
    assert history.run(50)
    assert history.run(100) == ()


def test_an_approval_lowers_the_baseline_at_once() -> None:
    history = History()
    history.run(100)
    history.run(50, approve=True)
    assert history.run(48) == ()
    assert [each.baseline for each in history.run(40)] == [50]


def test_a_clock_that_went_back_forgets_nothing() -> None:
    history = History()
    history.run(100)
    history.now -= 48 * HOUR
    assert history.run(50)


# --- What it holds ----------------------------------------------------------------------------------------

RECORDS = {HR: SourceSize(100, frozenset({VANS, DEPOT}))}


def plan_of(changes: Sequence[Change] = (), *, rows: int = 50, fleets: Sequence[FleetId] = (VANS,)) -> Plan:
    members = dict.fromkeys((VANS, DEPOT, NORTH), 500)
    return Plan(tuple(changes), (), members, 0, 0, sources={HR: SourceSize(rows, frozenset(fleets))})


def evaluate(plan: Plan, *approved: str, limits: guard.Limits | None = None) -> guard.Decision:
    return guard.evaluate(
        plan,
        worlds.seen({}),
        limits or guard.Limits(),
        guard.GuardHistory(sources=RECORDS),
        guard.Approvals(worlds.ACCOUNT, frozenset(approved)),
    )


def test_detaches_are_held_also_from_a_fleet_that_the_source_no_longer_names() -> None:
    """Another source still names the depot: the rows that this one lost may be all that it wanted there."""
    detaches = [Change(Action.DETACH, worlds.A, fleet) for fleet in (NORTH, VANS, DEPOT)]
    decision = evaluate(plan_of(detaches))
    assert [each.fleet for each in decision.allowed] == [NORTH]
    assert {(each.change.fleet, each.guard) for each in decision.held} == {
        (VANS, "source_shrank"),
        (DEPOT, "source_shrank"),
    }
    assert decision.held[0].message == decision.shrunk[0].message


def test_attaches_are_not_held() -> None:
    attach = Change(Action.ATTACH, worlds.A, VANS)
    assert evaluate(plan_of([attach])).allowed == (attach,)


def test_it_trips_without_any_change() -> None:
    decision = evaluate(plan_of())
    assert [each.name for each in decision.shrunk] == [HR]
    assert decision.held == ()


def test_an_approval_is_possible_without_any_held_change() -> None:
    digest = held_digest(worlds.ACCOUNT, (), evaluate(plan_of()).shrunk)
    decision = evaluate(plan_of(), digest)
    assert (decision.shrunk, [each.rows for each in decision.accepted], decision.approval) == ((), [50], digest)


def test_an_approval_is_for_one_number_of_rows() -> None:
    digest = held_digest(worlds.ACCOUNT, (), evaluate(plan_of()).shrunk)
    assert evaluate(plan_of(rows=49), digest).accepted == ()
    assert evaluate(plan_of([Change(Action.DETACH, worlds.A, VANS)]), digest).accepted == ()


def test_an_approval_outlives_a_falling_baseline() -> None:
    """The largest of the earlier runs leaves the window while somebody decides."""
    first = ShrunkSource(HR, 50, 100, "")
    assert held_digest(worlds.ACCOUNT, (), [first]) == held_digest(
        worlds.ACCOUNT, (), [dataclasses.replace(first, baseline=98)]
    )


def test_the_digest_of_held_changes_alone_is_as_before() -> None:
    changes = [Change(Action.DETACH, worlds.A, VANS)]
    assert held_digest(worlds.ACCOUNT, changes) == held_digest(worlds.ACCOUNT, changes, ())
    assert held_digest(worlds.ACCOUNT, changes) != held_digest(worlds.ACCOUNT, changes, evaluate(plan_of()).shrunk)


def test_each_source_has_its_own_fraction() -> None:
    assert evaluate(plan_of(), limits=guard.Limits(max_shrink_fractions={HR: 0.5})).shrunk == ()
    assert evaluate(plan_of(), limits=guard.Limits(max_shrink_fractions={"other": 0.5})).shrunk


def test_what_is_remembered_of_a_source_that_recovers_has_its_fleets_of_now() -> None:
    record = SourceRecord((RowCount(100, worlds.NOW),), frozenset({VANS}))
    now = worlds.NOW + HOUR
    sizes = {HR: SourceSize(100, frozenset({DEPOT}))}
    found = source_shrinkage.updated_records(sizes, {HR: record}, held=(), approved=(), now=now)
    assert found == {HR: SourceRecord((RowCount(100, now),), frozenset({DEPOT}))}
