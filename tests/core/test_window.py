"""Limits over a window: many small runs may not do what one large run may not."""

import copy
import dataclasses
import datetime
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import plans, worlds
from tests.core.worlds import DEPOT, VANS, A
from worker.core.model.identifiers import DriverId, FleetId, IntentKey, RunId
from worker.core.model.plan import Action, Change, HeldChange, Plan, RecentCounts
from worker.core.model.plan_digest import held_digest
from worker.core.model.ports import Intent, OpenIntent, RecentChanges
from worker.core.safety import guard, window

ATTACH, DETACH = Action.ATTACH, Action.DETACH
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
DEFAULT = guard.Limits()


@dataclasses.dataclass
class Account:
    """Fleets that only we change, run by run, with what the journal knows."""

    members: dict[FleetId, list[DriverId]]
    limits: guard.Limits
    now: datetime.datetime = worlds.NOW
    recorded: list[RecentChanges] = dataclasses.field(default_factory=list)
    sizes: list[tuple[datetime.datetime, dict[FleetId, int]]] = dataclasses.field(default_factory=list)
    numbers: int = 0

    def __post_init__(self) -> None:
        """Start with the present members."""
        self.sizes.append((self.now - 9 * DAY, self._sizes()))

    def run(self, fleet: FleetId, *, detach: int = 0, attach: int = 0, approve: bool = False) -> guard.Decision:
        """Plan these changes, and make those that are allowed."""
        leaving = [Change(DETACH, driver, fleet) for driver in self.members[fleet][:detach]]
        coming = [Change(ATTACH, self._new(), fleet) for _ in range(attach)]
        changes = tuple(sorted([*leaving, *coming], key=lambda change: change.order))
        plan = Plan(changes, (), self._sizes(), in_sync=0, drivers=0)
        history = guard.GuardHistory(recent=self.recent())
        decision = guard.evaluate(plan, worlds.seen({}), self.limits, history)
        if approve:
            decision = plans.approved(plan, limits=self.limits, history=history)
        self.make(decision)
        return decision

    def recent(self) -> window.Window:
        since = self.now - self.limits.window_length
        return window.Window(tuple(each for each in self.recorded if each.made > since), self.limits.window_length)

    def detached(self, fleets: Sequence[FleetId], *, approved: bool = False) -> int:
        """Count what was detached within the window that ends now."""
        since = self.now - self.limits.window_length
        counted = [each for each in self.recorded if each.action is DETACH and each.made > since]
        return sum(each.count for each in counted if each.fleet in fleets and (approved or not each.approved))

    def size_at_start(self, fleets: Sequence[FleetId]) -> int:
        """Count the members at the moment when the window that ends now began."""
        before = [sizes for at, sizes in self.sizes if at <= self.now - self.limits.window_length]
        return sum(before[-1][fleet] for fleet in fleets)

    def make(self, decision: guard.Decision) -> None:
        """Make the allowed changes, and record them as the journal does."""
        freed = {hold.change for hold in decision.approved}
        for change in decision.allowed:
            self.recorded.append(RecentChanges(change.fleet, change.action, self.now, 1, approved=change in freed))
            here = self.members[change.fleet]
            if change.action is ATTACH:
                here.append(change.driver)
            else:
                here.remove(change.driver)
        self.sizes.append((self.now, self._sizes()))

    def _sizes(self) -> dict[FleetId, int]:
        return {fleet: len(drivers) for fleet, drivers in self.members.items()}

    def _new(self) -> DriverId:
        self.numbers += 1
        return plans.driver(100_000 + self.numbers)


def account(*sizes: int, limits: guard.Limits = DEFAULT) -> Account:
    fleets = (VANS, DEPOT)[: len(sizes)]
    members = {
        fleet: [plans.driver(1000 * place + number) for number in range(size)]
        for place, (fleet, size) in enumerate(zip(fleets, sizes, strict=True))
    }
    return Account(members, limits)


RUNS = st.lists(
    st.tuples(
        st.sampled_from([VANS, DEPOT]),
        st.integers(0, 12),
        st.integers(0, 12),
        st.sampled_from([0.0, 0.1, 1.0, 6.0, 23.9, 24.0, 24.1, 60.0]),
    ),
    max_size=14,
)
LIMITS = st.builds(
    guard.Limits,
    max_detach_fraction_per_fleet=st.sampled_from([0.0, 0.1, 0.25, 0.5]),
    max_detach_fraction=st.sampled_from([0.0, 0.1, 0.3]),
    always_allow=st.integers(0, 3),
    allow_emptying_fleets=st.booleans(),
    window_length=st.sampled_from([HOUR, DAY]),
)


# --- Laws -------------------------------------------------------------------------------------------------


@worlds.LAW
@given(st.integers(0, 40), st.integers(0, 40), LIMITS, RUNS)
def test_no_sequence_of_runs_detaches_more_than_the_limit_within_the_window(
    vans: int, depot: int, limits: guard.Limits, runs: list[tuple[FleetId, int, int, float]]
) -> None:
    """The limit is a fraction of the members at the beginning of the window, whatever was attached since."""
    here = account(vans, depot, limits=limits)
    for fleet, detach, attach, hours in runs:
        here.now += hours * HOUR
        decision = here.run(fleet, detach=detach, attach=attach)
        if not any(change.action is DETACH for change in decision.allowed):
            continue
        for fleets, most in (
            ((fleet,), limits.max_detach_fraction_per_fleet),
            ((VANS, DEPOT), limits.max_detach_fraction),
        ):
            detached, members = here.detached(fleets), here.size_at_start(fleets)
            assert detached <= limits.always_allow or detached <= most * members + 1e-9


@worlds.LAW
@given(st.integers(1, 40), LIMITS, RUNS)
def test_approved_detaches_neither_use_up_the_limit_nor_raise_it(
    vans: int, limits: guard.Limits, runs: list[tuple[FleetId, int, int, float]]
) -> None:
    limits = dataclasses.replace(limits, allow_emptying_fleets=True)
    approving, plain = account(vans + 10, 0, limits=limits), account(vans, 0, limits=limits)
    approving.run(VANS, detach=10, approve=True)
    if approving.detached([VANS]):
        return  # the limit allowed these anyway
    for number, (_, detach, attach, hours) in enumerate(runs):
        for each in (approving, plain):
            each.now += hours * HOUR
        one, other = (each.run(VANS, detach=detach, attach=attach) for each in (approving, plain))
        assert len(one.allowed) == len(other.allowed), number


@worlds.LAW
@given(st.integers(0, 40), LIMITS, RUNS)
def test_a_message_says_when_the_limit_allows_the_changes(
    vans: int, limits: guard.Limits, runs: list[tuple[FleetId, int, int, float]]
) -> None:
    limits = dataclasses.replace(limits, allow_emptying_fleets=True, max_detach_fraction=1.0)
    here = account(vans, limits=limits)
    for _, detach, attach, hours in runs:
        here.now += hours * HOUR
        decision = here.run(VANS, detach=detach, attach=attach)
        for held in decision.held[:1]:
            if not (found := re.search(r"allowed without an approval after (\S+)", held.message)):
                continue
            end = datetime.datetime.fromisoformat(found[1])
            before = copy.deepcopy(here)
            for now, expected in ((end - datetime.timedelta(milliseconds=1), True), (end, False)):
                then = copy.deepcopy(before)
                then.now = max(now, here.now)
                assert bool(then.run(VANS, detach=len(decision.held)).held) is expected


@worlds.LAW
@given(st.integers(0, 60), st.sampled_from([0.0, 0.5, 1.0]), RUNS)
def test_no_sequence_of_runs_attaches_more_than_the_limit_within_the_window(
    vans: int, fraction: float, runs: list[tuple[FleetId, int, int, float]]
) -> None:
    limits = guard.Limits(1.0, 1.0, max_attach_fraction_per_fleet=fraction)
    here = account(vans, limits=limits)
    for _, detach, attach, hours in runs:
        here.now += hours * HOUR
        decision = here.run(VANS, detach=detach, attach=5 * attach)
        if any(change.action is ATTACH for change in decision.allowed):
            attached = here.recent().count(ATTACH)
            assert attached <= 20 or attached <= fraction * here.size_at_start([VANS])


# --- Stories and messages ---------------------------------------------------------------------------------


def test_nine_runs_that_each_lose_two_of_twenty_do_not_take_eighteen() -> None:
    here = account(20, limits=guard.Limits(max_detach_fraction=1.0))
    for _ in range(9):
        here.now += HOUR
        decision = here.run(VANS, detach=2)
    assert len(here.members[VANS]) == 16
    assert {(held.guard, held.message) for held in decision.held} == {
        (
            "max_detach_fraction_per_fleet",
            "2 memberships of this fleet would be detached, after 4 detached and 0 attached since "
            "2026-10-05T09:00:00.000Z: together 6 of 20 (30.0%), more than max_detach_fraction_per_fleet = 0.25; "
            "allowed without an approval after 2026-10-06T09:00:00.000Z if nothing else changes",
        )
    }
    here.now = worlds.NOW + HOUR + DAY
    assert here.run(VANS, detach=2).held == ()


def test_what_was_attached_within_the_window_does_not_raise_the_limit() -> None:
    here = account(8, limits=guard.Limits(max_detach_fraction=1.0))
    here.run(VANS, attach=100)
    here.now += HOUR
    decision = here.run(VANS, detach=3)
    assert decision.held[0].message.startswith(
        "3 memberships of this fleet would be detached, after 0 detached and 100 attached since "
        "2026-10-05T08:00:00.000Z: together 3 of 8 (37.5%), more than"
    )
    assert here.run(VANS, detach=2).held == ()


def test_where_all_members_are_new_only_always_allow_counts() -> None:
    here = account(0, limits=guard.Limits(max_detach_fraction_per_fleet=0.9, max_detach_fraction=1.0))
    here.run(VANS, attach=10)
    assert here.run(VANS, detach=2).held == ()
    (held, *_) = here.run(VANS, detach=1).held
    assert "together 3 of 0, more than max_detach_fraction_per_fleet = 0.9" in held.message


def test_the_window_counts_over_all_managed_fleets_too() -> None:
    limits = guard.Limits(max_detach_fraction_per_fleet=1.0, max_detach_fraction=0.10)
    here = account(50, 50, limits=limits)
    assert here.run(VANS, detach=6).held == ()
    (held, *_) = here.run(DEPOT, detach=5).held
    assert (held.guard, held.message) == (
        "max_detach_fraction",
        "5 memberships in all managed fleets would be detached, after 6 detached and 0 attached since "
        "2026-10-05T08:00:00.000Z: together 11 of 100 (11.0%), more than max_detach_fraction = 0.1; allowed without an "
        "approval after 2026-10-06T08:00:00.000Z if nothing else changes",
    )


def test_what_is_too_much_by_itself_is_never_freed_by_time() -> None:
    here = account(20, limits=guard.Limits(max_detach_fraction=1.0))
    here.run(VANS, detach=1)
    (held, *_) = here.run(VANS, detach=10).held
    assert "allowed without an approval" not in held.message


def test_a_fleet_of_five_does_not_get_four_hundred_more() -> None:
    here = account(5, limits=guard.Limits(max_attach_fraction_per_fleet=0.5))
    assert here.run(VANS, attach=20).held == ()
    decision = here.run(VANS, attach=400)
    assert (len(decision.held), decision.allowed) == (400, ())
    assert decision.held[0].guard == "max_attach_fraction_per_fleet"
    assert decision.held[0].message == (
        "400 memberships of this fleet would be attached, after 20 attached and 0 detached since "
        "2026-10-05T08:00:00.000Z: together 420 of 5 (8400.0%), more than max_attach_fraction_per_fleet = 0.5"
    )
    assert account(5).run(VANS, attach=400).held == ()


def test_a_driver_whose_attach_is_held_keeps_every_fleet() -> None:
    changes = [Change(ATTACH, plans.driver(number), VANS) for number in range(21)]
    detach, other = Change(DETACH, plans.driver(0), DEPOT), Change(DETACH, A, DEPOT)
    plan = Plan((*changes, detach, other), (), {VANS: 0, DEPOT: 100}, in_sync=0, drivers=0)
    decision = guard.evaluate(plan, worlds.seen({}), guard.Limits(max_attach_fraction_per_fleet=1.0))
    assert decision.allowed == (other,)
    assert {held.guard for held in decision.held} == {guard.ATTACHES}
    assert f"the attach of this driver to {VANS} is held" in decision.held[-1].message


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_the_first_twenty_attaches_are_never_held(fraction: float) -> None:
    here = account(0, limits=guard.Limits(max_attach_fraction_per_fleet=fraction))
    assert here.run(VANS, attach=20).held == ()
    assert len(here.run(VANS, attach=1).held) == 1


def test_after_an_approved_run_the_limit_counts_anew_from_the_members_that_are_left() -> None:
    here = account(20, limits=guard.Limits(max_detach_fraction=1.0, always_allow=0))
    assert here.run(VANS, detach=10, approve=True).held == ()
    assert len(here.run(VANS, detach=3).held) == 3
    assert here.run(VANS, detach=2).held == ()
    assert len(here.run(VANS, detach=1).held) == 1


def test_a_fraction_of_one_holds_no_detach_whatever_was_done() -> None:
    here = account(0, limits=guard.Limits(1.0, 1.0, allow_emptying_fleets=True))
    for _ in range(3):
        here.run(VANS, attach=10)
        assert here.run(VANS, detach=10).held == ()


def test_the_counts_of_a_window_leave_approved_changes_to_themselves() -> None:
    changes = (
        RecentChanges(VANS, DETACH, worlds.NOW, 3),
        RecentChanges(VANS, DETACH, worlds.NOW + HOUR, 10, approved=True),
        RecentChanges(DEPOT, ATTACH, worlds.NOW + HOUR, 2),
    )
    recent = window.Window(changes, datetime.timedelta(minutes=90))
    assert recent.counts() == RecentCounts(1.5, detached=3, attached=2, approved=10, since=worlds.NOW)
    assert recent.of({DEPOT}).counts() == RecentCounts(1.5, attached=2, since=worlds.NOW + HOUR)
    assert recent.of(()).counts() == RecentCounts(1.5)


# --- Approvals --------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Approver:
    """An account whose operator approves what is held, and may approve it again; with saved plans in between."""

    account: Account
    granted: list[str] = dataclasses.field(default_factory=list)
    named: dict[str, frozenset[Change]] = dataclasses.field(default_factory=dict)
    grants: list[str] = dataclasses.field(default_factory=list)
    uses: list[str] = dataclasses.field(default_factory=list)

    def do(self, what: str, number: int) -> None:
        """Run towards fewer members, apply a plan that held it before, or approve what was held last or long ago."""
        if what == "approve":
            for digest in list(self.named)[-number % (len(self.named) or 1) :][:1]:
                self.granted.append(digest)
                self.grants.append(digest)
            return
        here = self.account
        leaving = [Change(DETACH, plans.driver(each), VANS) for each in range(number)]
        changes = tuple(sorted((each for each in leaving if each.driver in here.members[VANS]), key=lambda c: c.order))
        plan = Plan(changes, (), {VANS: len(here.members[VANS])}, in_sync=0, drivers=0)
        before = [HeldChange(each, guard.PER_FLEET, "then") for each in changes[::2]] if what == "apply" else []
        approvals = guard.Approvals(worlds.ACCOUNT, frozenset(self.granted))
        history = guard.GuardHistory(recent=here.recent())
        decision = guard.evaluate(plan, worlds.seen({}), here.limits, history, approvals, held_before=before)
        self.check(decision, [each.change for each in before])
        here.make(decision)
        here.members[VANS] += [each.driver for each in decision.allowed]  # a mistake, undone by another client

    def check(self, decision: guard.Decision, before: Sequence[Change]) -> None:
        """Remember what is held, and use an approval up as the journal does."""
        held = [hold.change for hold in decision.held]
        if held:
            named = frozenset([*held, *before])
            self.named[held_digest(worlds.ACCOUNT, named)] = named
        if decision.approved:
            freed = {hold.change for hold in decision.approved}
            assert freed <= self.named[decision.approval]
            assert decision.approval in self.granted
            self.granted = [each for each in self.granted if each != decision.approval]
            self.uses.append(decision.approval)


@worlds.LAW
@given(
    st.integers(1, 30),
    LIMITS,
    st.lists(
        st.tuples(
            st.sampled_from(["run", "apply", "approve"]), st.integers(0, 20), st.sampled_from([0.0, 0.1, 1.0, 24.1])
        ),
        max_size=20,
    ),
)
def test_no_approval_frees_a_change_that_it_did_not_name_or_anything_twice(
    vans: int, limits: guard.Limits, steps: list[tuple[str, int, float]]
) -> None:
    approver = Approver(account(vans, limits=limits))
    for what, number, hours in steps:
        approver.account.now += hours * HOUR
        approver.do(what, number)
    for digest in set(approver.uses):
        assert approver.uses.count(digest) <= approver.grants.count(digest)


def test_a_window_without_a_write_counts_the_others_of_its_run() -> None:
    """And a write that has left the window takes nothing from it."""
    made = RecentChanges(VANS, DETACH, worlds.NOW, 2)
    counted = window.Window((made, dataclasses.replace(made, count=1, fleet=DEPOT)))
    write = OpenIntent(Intent(IntentKey("key"), Change(DETACH, A, VANS)), RunId("run"), worlds.NOW)
    elsewhere = dataclasses.replace(write.intent, change=Change(DETACH, A, DEPOT))
    assert counted.without([write]).changes == (dataclasses.replace(made, count=1), counted.changes[1])
    assert counted.without([dataclasses.replace(write, intent=elsewhere)]).changes == (made,)
    assert counted.without([dataclasses.replace(write, recorded=worlds.NOW - DAY)]) == counted
