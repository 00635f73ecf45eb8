"""The guard: laws over generated worlds, the exact boundaries of its limits, and the stories behind them."""

import dataclasses
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import plans, worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B
from worker.core.model.desired import DriverByMetadata, FleetById, Mode
from worker.core.model.errors import ReadingError
from worker.core.model.plan import Action, Change, HeldChange, Plan
from worker.core.model.plan_digest import held_digest
from worker.core.model.problem import Problem
from worker.core.safety import guard

DETACH = Action.DETACH
NO_LIMITS = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=1.0, allow_emptying_fleets=True)


# --- Laws -------------------------------------------------------------------------------------------------


@worlds.LAW
@given(worlds.worlds(), plans.limits())
def test_allowed_and_held_together_are_the_plan_in_its_order(world: worlds.World, limits: guard.Limits) -> None:
    plan = world.plan()
    decision = guard.evaluate(plan, world.actual, limits)
    held = [each.change for each in decision.held]
    assert sorted([*decision.allowed, *held], key=lambda change: change.order) == list(plan.changes)
    assert [change for change in plan.changes if change in set(held)] == held
    assert [change for change in plan.changes if change not in set(held)] == list(decision.allowed)


@worlds.LAW
@given(worlds.worlds(), plans.limits())
def test_only_detaches_are_held_and_all_or_none_of_a_fleet(world: worlds.World, limits: guard.Limits) -> None:
    decision = guard.evaluate(world.plan(), world.actual, limits)
    assert all(held.change.action is DETACH for held in decision.held)
    allowed = {change.fleet for change in decision.allowed if change.action is DETACH}
    assert not allowed & {held.change.fleet for held in decision.held}


@worlds.LAW
@given(worlds.worlds(), plans.limits(), st.randoms(use_true_random=False))
def test_no_sequence_of_allowed_changes_empties_a_protected_fleet(
    world: worlds.World, limits: guard.Limits, chance: random.Random
) -> None:
    """Whichever of them succeed, in any order, and wherever the run is cut off."""
    limits = dataclasses.replace(limits, allow_emptying_fleets=False)
    allowed = guard.evaluate(world.plan(), world.actual, limits).allowed
    before = {fleet for fleet in world.managed if worlds.members(world.actual, fleet)}
    only_detaches = [change for change in allowed if change.action is DETACH]
    for sequence in (only_detaches, chance.sample(allowed, chance.randint(0, len(allowed)))):
        now = world.actual
        for change in sequence:
            now = worlds.applied(now, [change])
            assert all(worlds.members(now, fleet) for fleet in before)


@worlds.LAW
@given(worlds.worlds(), plans.limits())
def test_an_unseen_sentinel_holds_every_detach_and_no_approval_lifts_that(
    world: worlds.World, limits: guard.Limits
) -> None:
    """GAM 673: a filter changed its meaning overnight, and owners were removed."""
    limits = dataclasses.replace(limits, must_see=limits.must_see | {(worlds.GHOST, VANS)})
    plan = world.plan()
    decision = guard.evaluate(plan, world.actual, limits)
    assert [held.change for held in decision.held] == [each for each in plan.changes if each.action is DETACH]
    assert plans.holds(decision) <= {guard.MUST_SEE}
    assert plans.parts(plans.approved(plan, world.actual, limits)) == plans.parts(decision)


@worlds.LAW
@given(worlds.worlds(), plans.limits())
def test_an_approval_allows_the_whole_plan_where_the_reading_is_right(
    world: worlds.World, limits: guard.Limits
) -> None:
    limits = dataclasses.replace(limits, must_see=frozenset())
    plan = world.plan()
    assert plans.parts(plans.approved(plan, world.actual, limits)) == (plan.changes, ())


@worlds.LAW
@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 100), st.integers(0, 5))
def test_the_fractions_are_exact(members: int, count: int, percent: int, always: int) -> None:
    """Rounding never allows or holds a detach, at any percentage."""
    count = min(count, members - 1)
    for fraction in (guard.PER_FLEET, guard.PER_RUN):
        decision = plans.guarded(plans.losing(count, members), always_allow=always, **{fraction: percent / 100})
        assert bool(decision.held) is (count > always and 100 * count > percent * members)
        assert plans.holds(decision) <= {fraction}


# --- Boundaries -------------------------------------------------------------------------------------------


def test_a_quarter_of_a_fleet_may_go_and_one_more_is_held() -> None:
    assert plans.guarded(plans.losing(25, 100), max_detach_fraction_per_fleet=0.25).held == ()
    held = plans.guarded(plans.losing(26, 100), max_detach_fraction_per_fleet=0.25).held
    assert len(held) == 26
    assert held[0] == HeldChange(
        Change(DETACH, plans.driver(0), VANS),
        "max_detach_fraction_per_fleet",
        "26 of 100 memberships of this fleet (26.0%) would be detached, more than max_detach_fraction_per_fleet = 0.25",
    )


def test_a_tenth_of_all_memberships_may_go_and_one_more_is_held() -> None:
    small, large = plans.losing(4, 20), plans.losing(16, 180, DEPOT)
    assert plans.guarded(plans.together(small, large), max_detach_fraction=0.10).held == ()
    held = plans.guarded(plans.together(small, plans.losing(17, 180, DEPOT)), max_detach_fraction=0.10).held
    assert len(held) == 21
    assert {(each.guard, each.message) for each in held} == {
        (
            "max_detach_fraction",
            "21 of 200 memberships in all managed fleets (10.5%) would be detached, "
            "more than max_detach_fraction = 0.1",
        )
    }


def test_two_detaches_are_never_held_by_a_fraction() -> None:
    strict = guard.Limits(max_detach_fraction_per_fleet=0.0, max_detach_fraction=0.0)
    assert guard.evaluate(plans.losing(2, 3), worlds.seen({}), strict).held == ()
    assert len(guard.evaluate(plans.losing(3, 1000), worlds.seen({}), strict).held) == 3


def test_always_allow_counts_in_each_fleet_and_in_the_run_for_itself() -> None:
    both = plans.together(plans.losing(2, 100), plans.losing(2, 100, DEPOT))
    per_fleet = guard.Limits(max_detach_fraction_per_fleet=0.0, max_detach_fraction=1.0)
    per_run = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=0.0)
    assert guard.evaluate(both, worlds.seen({}), per_fleet).held == ()
    assert plans.holds(guard.evaluate(both, worlds.seen({}), per_run)) == {guard.PER_RUN}


@pytest.mark.parametrize(("members", "said"), [(1, "the only member"), (2, "all 2 members"), (5, "all 5 members")])
def test_emptying_a_fleet_is_held_however_few_are_in_it(members: int, said: str) -> None:
    """Even within always_allow, and even if a driver is attached in the same run: that attach may be refused."""
    decision = plans.guarded(plans.losing(members, members), always_allow=10)
    assert {(held.guard, held.message) for held in decision.held} == {
        ("allow_emptying_fleets", f"{said} of this fleet would be detached")
    }
    assert len(decision.held) == members
    assert plans.guarded(plans.losing(members, members), always_allow=10, allow_emptying_fleets=True).held == ()


def test_a_fleet_that_may_be_emptied_still_keeps_to_the_fractions() -> None:
    decision = plans.guarded(plans.losing(5, 5), allow_emptying_fleets=True, max_detach_fraction_per_fleet=0.25)
    assert plans.holds(decision) == {guard.PER_FLEET}


def test_a_fleets_own_reason_is_reported_before_that_of_the_run() -> None:
    plan = plans.together(plans.losing(1, 1), plans.losing(30, 100, DEPOT), plans.losing(20, 100, NORTH))
    decision = guard.evaluate(plan, worlds.seen({}), guard.Limits())
    reasons = {held.change.fleet: held.guard for held in decision.held}
    assert reasons == {VANS: guard.EMPTYING, DEPOT: guard.PER_FLEET, NORTH: guard.PER_RUN}


def test_attaches_are_never_held() -> None:
    decision = guard.evaluate(plans.losing(5, 5), worlds.seen({}), guard.Limits(must_see=frozenset({(A, VANS)})))
    assert [change.action for change in decision.allowed] == [Action.ATTACH]


def test_a_sentinel_that_is_seen_holds_nothing_and_one_that_is_not_is_named() -> None:
    sentinels = guard.Limits(must_see=frozenset({(A, VANS), (B, DEPOT)}))
    plan = plans.losing(1, 100)
    assert guard.evaluate(plan, worlds.seen({A: [VANS], B: [DEPOT, NORTH]}), sentinels).held == ()
    (held,) = guard.evaluate(plan, worlds.seen({A: [VANS], B: [NORTH]}), sentinels).held
    assert held.guard == "must_see"
    assert held.message == (
        f"{B}/{DEPOT} is listed in must_see and was not seen in Charge: the reading is wrong; this cannot be approved"
    )


def test_a_plan_that_would_detach_a_sentinel_detaches_nobody() -> None:
    """A must_see membership is certain, so a source that leaves it out is wrong."""
    plan = plans.losing(2, 100)
    leaver = next(change for change in plan.changes if change.action is Action.DETACH)
    sentinels = guard.Limits(must_see=frozenset({(leaver.driver, VANS)}))
    seen = worlds.seen({leaver.driver: [VANS]})
    decision = guard.evaluate(plan, seen, sentinels)
    assert {held.guard for held in decision.held} == {"must_see"}
    assert len(decision.held) == 2
    assert "would be detached: the sources are wrong, or must_see is" in decision.held[0].message
    assert plans.approved(plan, seen, sentinels).held == decision.held


# --- References that do not resolve -----------------------------------------------------------------------


def unresolved(count: int, references: int) -> Plan:
    problems = tuple(Problem(f"membership.yaml:{line}:1", "no such driver") for line in range(1, count + 1))
    return Plan((), problems, {}, in_sync=0, drivers=0, references=references, unresolved=count)


@pytest.mark.parametrize(("count", "references"), [(0, 0), (19, 19), (2, 20), (100, 1000)])
def test_a_tenth_of_the_references_may_lead_nowhere_or_any_number_of_fewer_than_twenty(
    count: int, references: int
) -> None:
    decision = guard.evaluate(unresolved(count, references), worlds.seen({}), guard.Limits())
    assert (decision.allowed, decision.held) == ((), ())


@pytest.mark.parametrize(("count", "references"), [(3, 20), (101, 1000), (20, 20)])
def test_more_than_a_tenth_of_twenty_references_is_no_reading_to_act_on(count: int, references: int) -> None:
    with pytest.raises(ReadingError) as caught:
        guard.evaluate(unresolved(count, references), worlds.seen({}), guard.Limits())
    assert caught.value.code == "too_many_unresolved"
    assert caught.value.exit_code == 1
    assert caught.value.message.startswith(
        f"{count} of {references} references cannot be resolved, more than max_unresolved_fraction = 0.1 allows"
    )
    assert caught.value.message.count("no such driver") == min(count, 10)


def test_the_share_of_unresolved_references_can_be_set() -> None:
    guard.evaluate(unresolved(20, 20), worlds.seen({}), guard.Limits(max_unresolved_fraction=1.0))
    with pytest.raises(ReadingError):
        guard.evaluate(unresolved(1, 20), worlds.seen({}), guard.Limits(max_unresolved_fraction=0.0))


# --- Stories ----------------------------------------------------------------------------------------------


def test_a_skewed_document_is_stopped_in_one_fleet_and_over_all_fleets() -> None:
    """kubernetes/org 4365: a skewed configuration removed people from many teams."""
    in_one = plans.together(plans.losing(50, 100), plans.losing(0, 900, DEPOT))
    a_bit_everywhere = plans.together(*(plans.losing(20, 100, fleet) for fleet in worlds.FLEETS))
    assert plans.holds(guard.evaluate(in_one, worlds.seen({}), guard.Limits())) == {guard.PER_FLEET}
    assert plans.holds(guard.evaluate(a_bit_everywhere, worlds.seen({}), guard.Limits())) == {guard.PER_RUN}


def test_a_managed_fleet_with_an_empty_list_is_emptied_only_after_somebody_looked() -> None:
    """DefGuard 2833 and ssosync 194: an empty list emptied the groups, from the first run on."""
    world = worlds.World(
        worlds.wish(worlds.by_id(VANS)), worlds.seen({A: [VANS], B: [VANS]}, directory_complete=True), Mode.EXACT
    )
    decision = guard.evaluate(world.plan(), world.actual, guard.Limits())
    assert decision.allowed == ()
    assert plans.holds(decision) == {guard.EMPTYING}
    assert len(plans.approved(world.plan(), world.actual).allowed) == 2


def test_an_answer_200_with_half_the_rows_missing_is_held_by_its_size() -> None:
    """As in firezone 9194: the missing half was read as deleted. The limits hold it whatever the HTTP status was."""
    here = {plans.driver(number): [VANS] for number in range(100)}
    wishes = worlds.wish(worlds.by_id(VANS, *(plans.driver(number) for number in range(50))))
    world = worlds.World(wishes, worlds.seen(here, directory_complete=True), Mode.EXACT)
    decision = guard.evaluate(world.plan(), world.actual, guard.Limits())
    assert decision.allowed == ()
    assert len(decision.held) == 50


def test_ids_that_a_spreadsheet_changed_are_no_reason_to_detach_everybody() -> None:
    """GAMADV-XTD3 177: member ids became 1.16E+20. Many unknown references at once end the run."""
    changed = [DriverByMetadata("employee_id", f"1.16E+{number}") for number in range(30)]
    here = {plans.driver(number): [VANS] for number in range(30)}
    world = worlds.World(
        worlds.wish({FleetById(VANS): changed}), worlds.seen(here, directory_complete=True), Mode.EXACT
    )
    plan = world.plan()
    assert plan.changes == ()
    with pytest.raises(ReadingError, match="30 of 31 references"):
        guard.evaluate(plan, world.actual, guard.Limits())


# --- Approvals and precedence -----------------------------------------------------------------------------


def test_an_approval_counts_for_exactly_these_held_changes_of_one_account() -> None:
    plan, other = plans.losing(5, 5), plans.losing(4, 5)
    found = guard.evaluate(plan, worlds.seen({}), guard.Limits())
    digest = held_digest(worlds.ACCOUNT, (held.change for held in found.held))
    right = guard.Approvals(worlds.ACCOUNT, frozenset({"sha256:0", digest}))
    assert guard.evaluate(plan, worlds.seen({}), guard.Limits(), approvals=right).approval == digest
    elsewhere = dataclasses.replace(right, account=dataclasses.replace(worlds.ACCOUNT, mode="live"))
    for planned, approvals in ((other, right), (plan, elsewhere)):
        decision = guard.evaluate(planned, worlds.seen({}), guard.Limits(), approvals=approvals)
        assert decision.approval == "" and decision.held


def test_a_plan_without_held_changes_needs_no_approval_and_uses_none_up() -> None:
    decision = plans.approved(plans.losing(1, 100))
    assert (decision.held, decision.approval, decision.approved) == ((), "", ())


def test_every_guard_has_one_place_in_the_precedence() -> None:
    codes = [code for code, _ in guard.PRECEDENCE]
    assert codes == [
        "must_see",
        "source_shrank",
        "source_rewritten",
        "reference_moved",
        "not_converging",
        "flapping",
        "allow_emptying_fleets",
        "max_detach_fraction_per_fleet",
        "max_detach_fraction",
        "max_attach_fraction_per_fleet",
    ]


# --- A saved plan, evaluated again ------------------------------------------------------------------------


def again(
    plan: Plan, *before: HeldChange, approved: Sequence[Change] = (), limits: guard.Limits = NO_LIMITS
) -> guard.Decision:
    digest = held_digest(worlds.ACCOUNT, approved)
    approvals = guard.Approvals(worlds.ACCOUNT, frozenset({digest}))
    return guard.evaluate(plan, worlds.seen({}), limits, approvals=approvals, held_before=before)


def test_what_was_held_stays_held_though_no_guard_holds_it_any_more() -> None:
    plan = plans.losing(2, 10)
    attach, first, second = plan.changes
    moved = HeldChange(first, guard.REFERENCE_MOVED, "another person")
    unheard_of = HeldChange(second, "of_a_later_version", "who knows")
    decision = again(plan, moved, unheard_of)
    assert (decision.allowed, decision.held) == ((attach,), (moved, unheard_of))


def test_an_approval_must_name_what_was_held_and_what_is_held_now() -> None:
    plan = plans.losing(2, 10)
    _, first, second = plan.changes
    moved = HeldChange(first, guard.REFERENCE_MOVED, "another person")
    strict = guard.Limits(max_detach_fraction=0.0, always_allow=0, allow_emptying_fleets=True)
    assert len(again(plan, moved, approved=[first], limits=strict).held) == 2
    freed = again(plan, moved, approved=[first, second], limits=strict)
    assert (freed.allowed, freed.held, [each.change for each in freed.approved]) == (plan.changes, (), [first, second])
    assert again(plan, moved, approved=[first]).approved == (moved,)


def test_what_was_held_and_is_stale_by_now_belongs_to_what_an_approval_names() -> None:
    """Otherwise an operator who approved what the plan shows would find that it allows nothing."""
    plan = plans.losing(1, 10)
    _, detach = plan.changes
    stale = HeldChange(Change(DETACH, plans.driver(7), VANS), guard.PER_FLEET, "too many")
    held = HeldChange(detach, guard.PER_FLEET, "too many")
    assert again(plan, held, stale, approved=[detach]).held == (held,)
    freed = again(plan, held, stale, approved=[detach, stale.change])
    assert (freed.held, freed.approved) == ((), (held,))


def test_no_approval_lifts_what_must_see_held_before_or_holds_now() -> None:
    plan = plans.losing(2, 10)
    _, first, second = plan.changes
    before = HeldChange(first, guard.MUST_SEE, "not seen")
    decision = again(plan, before, HeldChange(second, guard.PER_RUN, "too many"), approved=[first, second])
    assert (decision.held, [each.change for each in decision.approved]) == ((before,), [second])
    sentinel = guard.Limits(1.0, 1.0, must_see=frozenset({(worlds.A, VANS)}))
    now = again(plan, HeldChange(first, guard.PER_RUN, "too many"), approved=[first, second], limits=sentinel)
    assert {each.guard for each in now.held} == {guard.MUST_SEE}
    strict = guard.Limits(max_detach_fraction=0.0, always_allow=0, allow_emptying_fleets=True)
    both = again(plan, before, approved=[first, second], limits=strict)  # another guard holds it now too
    assert both.held == (before,)
