"""The history that the guard uses: which approvals count, and what is remembered for later runs."""

import dataclasses
import datetime

import pytest

from tests.core import worlds
from tests.core.snapshots import ATTACH, DETACH, OTHER, held
from tests.core.worlds import NOW, VANS
from tests.support import harness, memory_journal
from worker.core.model.desired import FleetById
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import NOT_CONVERGING
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, Change, Plan
from worker.core.model.ports import Intent, OpenIntent, RecentChanges
from worker.core.model.source_history import RowCount, SourceRecord, SourceSize
from worker.core.planning import unclear_writes
from worker.core.safety import clock_trust, guard, window
from worker.engine import guard_memory

pytestmark = pytest.mark.anyio

Write = tuple[Action, DriverId, FleetId]
TRUSTED = clock_trust.Assessment("", NOW, NOW, NOW)
WRONG = clock_trust.Assessment("this machine's clock is 2 hours behind Charge's", NOW, NOW, NOW)
DIGEST, OWN = "sha256:1", "sha256:2"
PLAN = Plan((DETACH,), (), {VANS: 9}, in_sync=0, drivers=9, resolutions={'"Vans"': VANS})


class Approving(memory_journal.MemoryJournal):
    """A journal with one approval."""

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        return frozenset({DIGEST})


def _memory(*, applies: bool = True, only: bool = False) -> guard_memory.GuardMemory:
    account_harness = harness.Harness(harness.state_of({}), journal=Approving())
    fleets = [FleetById(VANS)] if only else []
    return guard_memory.GuardMemory(
        account_harness.context(), worlds.ACCOUNT, guard.Limits(), unmanaged=(), only=fleets, applies=applies
    )


@pytest.mark.parametrize(
    ("clock", "applies", "own", "digests"),
    [
        (TRUSTED, True, None, {DIGEST}),
        (TRUSTED, True, OWN, {DIGEST, OWN}),
        (TRUSTED, False, OWN, set()),
        (WRONG, True, OWN, set()),
    ],
)
async def test_an_approval_counts_only_where_the_clock_is_trusted_and_changes_are_made(
    clock: clock_trust.Assessment, applies: bool, own: str | None, digests: set[str]
) -> None:
    approvals = await _memory(applies=applies).approvals(clock, own)
    assert approvals == guard.Approvals(worlds.ACCOUNT, frozenset(digests))
    assert not (await _memory(only=True).approvals(TRUSTED)).of_all_fleets


@pytest.mark.parametrize(
    ("only", "in_force", "unsent", "kept"),
    [
        (False, [], frozenset(), True),
        (False, [Pause(NOW, fleet=VANS)], frozenset({ATTACH}), True),
        (False, [Pause(NOW, fleet=VANS)], frozenset({DETACH}), False),
        (False, [Pause(NOW)], frozenset(), False),
        (True, [], frozenset(), False),
    ],
)
async def test_later_runs_rely_on_an_approval_only_if_this_one_may_use_it_up(
    only: bool, in_force: list[Pause], unsent: frozenset[Change], kept: bool
) -> None:
    decision = guard.Decision((DETACH,), (), approval=DIGEST, approved=(held(DETACH),))
    remembered = await _memory(only=only).to_remember(
        PLAN, worlds.seen({}), guard.NO_HISTORY, decision, in_force=in_force, unsent=unsent
    )
    assert (remembered is decision) is kept
    assert (remembered.approval == DIGEST) is kept


async def test_what_no_approval_allowed_is_remembered_as_it_is() -> None:
    decision = guard.Decision((), (held(DETACH),))
    remembered = await _memory(only=True).to_remember(
        PLAN, worlds.seen({}), guard.NO_HISTORY, decision, in_force=[Pause(NOW)], unsent=frozenset({DETACH})
    )
    assert remembered is decision


class Asked(memory_journal.MemoryJournal):
    """A journal that notes how far back it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.since: list[datetime.datetime] = []

    async def unconfirmed_writes(self, *, since: datetime.datetime) -> dict[Write, int]:
        self.since.append(since)
        return {}

    async def recent_changes(self, *, since: datetime.datetime) -> tuple[RecentChanges, ...]:
        self.since.append(since)
        return ()


async def test_a_month_of_unconfirmed_writes_and_the_window_of_the_limits_count() -> None:
    journal = Asked()
    context = harness.Harness(harness.state_of({}), journal=journal).context()
    limits = guard.Limits(window_length=datetime.timedelta(hours=3))
    memory = guard_memory.GuardMemory(context, worlds.ACCOUNT, limits, unmanaged=(), only=(), applies=True)
    past = await memory.history(PLAN, now=NOW)
    assert journal.since == [NOW - datetime.timedelta(days=30), NOW - datetime.timedelta(hours=3)]
    assert past.recent == window.Window((), datetime.timedelta(hours=3))


@pytest.mark.parametrize("account", [worlds.ACCOUNT, Account("https://other.test", "live")])
async def test_only_fleets_that_this_account_managed_before_count(account: Account) -> None:
    journal = memory_journal.MemoryJournal()
    context = harness.Harness(harness.state_of({}), journal=journal).context()
    await journal.claim(account, fleets={VANS: "Vans"}, managed={VANS})
    memory = guard_memory.GuardMemory(context, worlds.ACCOUNT, guard.Limits(), unmanaged=(), only=(), applies=True)
    assert (await memory.managed() == {VANS}) is (account == worlds.ACCOUNT)


# --- Unclear writes ----------------------------------------------------------------------------------------


def _open(change: Change, *, approved: bool = True, code: str = "timeout") -> OpenIntent:
    intent = Intent(IntentKey(f"key-{change.driver}"), change, approved=approved)
    return OpenIntent(intent, RunId("run_1"), NOW, attempts=1, last_attempt=NOW, code=code)


def test_what_was_approved_and_sent_is_allowed_once_more_in_the_order_of_the_plan() -> None:
    decision = guard.Decision((OTHER,), (held(ATTACH), held(DETACH)))
    unclear = unclear_writes.sort_out([_open(DETACH), _open(ATTACH, approved=False)], [ATTACH, DETACH, OTHER])
    found = guard_memory.allow_resending(decision, unclear)
    assert found.allowed == tuple(sorted((DETACH, OTHER), key=lambda change: change.order))
    assert found.held == (held(ATTACH),)


@pytest.mark.parametrize(
    ("by", "code"), [(guard.MUST_SEE, "timeout"), (guard.PER_FLEET, NOT_CONVERGING)], ids=["must_see", "accepted"]
)
def test_what_cannot_be_approved_or_was_accepted_already_stays_held(by: str, code: str) -> None:
    decision = guard.Decision((), (held(DETACH, by),))
    unclear = unclear_writes.sort_out([_open(DETACH, code=code)], [DETACH])
    assert guard_memory.allow_resending(decision, unclear) is decision


def test_a_write_that_the_plan_repeats_counts_once() -> None:
    made = RecentChanges(DETACH.fleet, Action.DETACH, NOW, 2, approved=True)
    past = guard.GuardHistory(recent=window.Window((made,)))
    once = guard_memory.count_once(past, unclear_writes.sort_out([_open(DETACH)], [DETACH]))
    assert once.recent.changes == (dataclasses.replace(made, count=1),)
    assert guard_memory.count_once(past, unclear_writes.NONE) is past


# --- Sources -----------------------------------------------------------------------------------------------


def test_sources_are_remembered_only_by_a_clock_that_is_trusted() -> None:
    plan = dataclasses.replace(PLAN, sources={"hr": SourceSize(7, frozenset({VANS}), "2")})
    decision = guard.Decision((), ())
    assert guard_memory.source_records(plan, decision, {}, WRONG) == {}
    assert guard_memory.source_records(plan, decision, {}, TRUSTED) == {
        "hr": SourceRecord((RowCount(7, NOW),), frozenset({VANS}), "2")
    }
