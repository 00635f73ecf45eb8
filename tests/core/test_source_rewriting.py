"""Sources whose history was rewritten: what is held, and when later runs compare with the new version."""

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import plans, worlds
from tests.core.worlds import DEPOT, NORTH, VANS
from worker.core.model.identifiers import FleetId
from worker.core.model.plan import Action, Change, HeldChange, Plan
from worker.core.model.source_history import RowCount, SourceRecord, SourceSize
from worker.core.safety import guard, source_rewriting, source_shrinkage

GIT = "teams"
BEFORE, NOW = "1" * 40, "2" * 40
RECORD = SourceRecord((RowCount(10, worlds.NOW),), frozenset({VANS}), BEFORE)
ATTACH = Change(Action.ATTACH, plans.driver(1), VANS)
DETACH = Change(Action.DETACH, plans.driver(2), VANS)
ELSEWHERE = Change(Action.DETACH, plans.driver(3), NORTH)
MOVING = Change(Action.DETACH, plans.driver(1), NORTH)


def plan_of(*changes: Change, rewritten: str = BEFORE, fleets: tuple[FleetId, ...] = (VANS,)) -> Plan:
    sizes = {GIT: SourceSize(10, frozenset(fleets), NOW, rewritten)}
    return Plan(changes, (), dict.fromkeys((VANS, DEPOT, NORTH), 500), 0, 0, sources=sizes)


def evaluate(plan: Plan, before: Mapping[str, SourceSize] | None = None) -> guard.Decision:
    return guard.evaluate(plan, worlds.seen({}), guard.Limits(), guard.GuardHistory(sources=before or {}))


def remembered(plan: Plan, *held: Change) -> SourceRecord:
    holds = [HeldChange(change, guard.SOURCE_REWRITTEN, "") for change in held]
    unsettled = source_rewriting.unsettled(plan, holds, {GIT: RECORD})
    return source_shrinkage.updated_records(
        plan.sources, {GIT: RECORD}, held=(), approved=(), now=worlds.NOW, unsettled=unsettled
    )[GIT]


@worlds.LAW
@given(worlds.worlds(), plans.limits(), st.integers(0, 2))
def test_nothing_changes_in_a_fleet_of_a_source_whose_history_was_rewritten(
    world: worlds.World, limits: guard.Limits, number: int
) -> None:
    plan = world.plan()
    name = f"source-{number}.yaml"
    size = dataclasses.replace(plan.sources.get(name, SourceSize(0)), version=NOW, rewritten=BEFORE)
    rewritten = dataclasses.replace(plan, sources={**plan.sources, name: size})
    decision = guard.evaluate(rewritten, world.actual, limits)
    assert not [each for each in decision.allowed if each.fleet in size.fleets]
    attached = {each.driver for each in plan.changes if each.action is Action.ATTACH and each.fleet in size.fleets}
    assert not [each for each in decision.allowed if each.action is Action.DETACH and each.driver in attached]


def test_every_change_in_its_fleets_is_held_and_no_other() -> None:
    decision = evaluate(plan_of(ATTACH, DETACH, ELSEWHERE))
    assert decision.allowed == (ELSEWHERE,)
    assert {hold.guard for hold in decision.held} == {guard.SOURCE_REWRITTEN}
    assert decision.held[0].message == (
        "the history of source teams was rewritten: 222222222222 does not descend from 111111111111, which an earlier "
        "run read"
    )


def test_fleets_that_it_named_before_belong_to_it() -> None:
    plan = plan_of(DETACH, fleets=(DEPOT,))
    assert evaluate(plan, {GIT: SourceSize(10, frozenset({VANS}))}).allowed == ()
    assert evaluate(plan).allowed == (DETACH,)


def test_a_driver_whose_attach_is_held_loses_no_other_fleet() -> None:
    assert evaluate(plan_of(ATTACH, MOVING)).allowed == ()


def test_a_history_that_goes_on_holds_nothing() -> None:
    assert evaluate(plan_of(ATTACH, DETACH, rewritten="")).held == ()


def test_an_approval_allows_exactly_this() -> None:
    plan = plan_of(DETACH)
    assert plans.approved(plan).allowed == (DETACH,)


class TestWhatIsRemembered:
    def test_the_new_version_once_nothing_waits(self) -> None:
        assert remembered(plan_of(ATTACH)).version == NOW
        assert remembered(plan_of(ELSEWHERE), ELSEWHERE).version == NOW

    def test_the_old_one_while_a_change_is_held(self) -> None:
        assert remembered(plan_of(DETACH), DETACH).version == BEFORE

    def test_the_old_one_while_a_grace_period_delays_a_detach(self) -> None:
        later = dataclasses.replace(plan_of(), later=frozenset({(DETACH.driver, VANS)}))
        assert remembered(later).version == BEFORE

    @pytest.mark.parametrize("partial", [{"unresolved": 1}, {"incomplete": 1}])
    def test_the_old_one_while_changes_may_be_missing(self, partial: dict[str, int]) -> None:
        assert remembered(dataclasses.replace(plan_of(), **partial)).version == BEFORE  # type: ignore[arg-type]

    def test_the_fleets_of_before_as_long_as_the_old_version(self) -> None:
        assert remembered(plan_of(DETACH, fleets=(DEPOT,)), DETACH).fleets == {VANS, DEPOT}
        assert remembered(plan_of(fleets=(DEPOT,))).fleets == {DEPOT}
