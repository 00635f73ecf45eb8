"""Whose a journal is, question by question: what a run may take from it, and what it records there."""

import datetime

import pytest

from tests.core import worlds
from tests.support import harness, memory_journal
from tests.support.harness import BASE, DEPOT, NORTH, VANS, A
from worker.core.model.actual import Actual, Fleet
from worker.core.model.errors import ForeignJournal
from worker.core.model.identifiers import Account, FleetId
from worker.core.model.ports import JournalOwner
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import LearnedRate
from worker.engine import ownership, reader

pytestmark = pytest.mark.anyio

OURS, OTHER = Account(BASE, "test"), Account(BASE, "live")
NOW = worlds.NOW
DAY = datetime.timedelta(days=1)
GONE = FleetId(f"flt_{'Z' * 32}")


class Owned(memory_journal.MemoryJournal):
    """A journal that says whose it is."""

    def __init__(self, known: JournalOwner) -> None:
        super().__init__()
        self.known = known

    async def owner(self) -> JournalOwner:
        return self.known

    async def claim(self, account: Account, *, fleets: object, managed: object) -> None:
        self.claimed = (account, fleets, managed)


def _owned(known: JournalOwner, *, adopt: bool = False) -> tuple[ownership.Ownership, Owned, harness.Harness]:
    journal = Owned(known)
    account_harness = harness.Harness(harness.state_of({VANS: [A]}), journal=journal)
    account_reader = reader.Reader(account_harness.context())
    return ownership.Ownership(OURS, journal, account_reader, adopt=adopt), journal, account_harness


@pytest.mark.parametrize(
    ("owner", "at", "adopt", "rate"),
    [
        (OURS, NOW, False, 40.0),
        (OURS, NOW - DAY, False, None),
        (OURS, None, False, None),
        (None, NOW, False, None),
        (OTHER, NOW, True, None),
    ],
)
async def test_a_rate_is_taken_over_if_this_accounts_own_runs_learned_it_lately(
    owner: Account | None, at: datetime.datetime | None, adopt: bool, rate: float | None
) -> None:
    learned = None if at is None else LearnedRate(40.0, at)
    owned, _, _ = _owned(JournalOwner(owner, {}, learned=learned), adopt=adopt)
    assert await owned.check_account(now=NOW) == rate


async def test_a_journal_of_another_account_is_refused_unless_it_is_to_be_adopted() -> None:
    owned, _, _ = _owned(JournalOwner(OTHER, {}))
    with pytest.raises(ForeignJournal, match=r"\(live\), and this run is for .* \(test\)"):
        await owned.check_account(now=NOW)


@pytest.mark.parametrize("owner", [None, OURS])
async def test_that_the_journal_is_new_is_said_once_and_last(owner: Account | None) -> None:
    owned, _, _ = _owned(JournalOwner(owner, {}))
    await owned.check_account(now=NOW)
    before = Problem("z", "older", note=True, code=ProblemCode.JOURNAL_NEW)
    first, second = Problem("a", "one"), Problem("z", "two")
    *others, last = owned.with_notes([second, before, first])
    if owner is None:
        assert (others, last.code, last.where) == ([first, second], ProblemCode.JOURNAL_NEW, "journal")
    else:
        assert [*others, last] == [first, second]


def _reading(*fleets: FleetId, members: FleetId | None = None) -> Actual:
    memberships = {A: frozenset({members})} if members else {}
    return Actual({fleet: Fleet(fleet, f"Fleet {fleet[4]}\n") for fleet in fleets}, memberships)


@pytest.mark.parametrize(
    ("known", "adopt", "actual", "asked", "foreign"),
    [
        ([], False, _reading(), 0, False),
        ([VANS], False, _reading(VANS), 0, False),
        ([VANS], False, _reading(members=VANS), 0, False),
        ([VANS, GONE], False, _reading(DEPOT), 1, False),
        ([GONE], False, _reading(DEPOT), 1, True),
        ([GONE], True, _reading(DEPOT), 0, False),
    ],
)
async def test_fleets_are_asked_for_only_if_the_reading_shows_none_that_the_journal_knows(
    known: list[FleetId], adopt: bool, actual: Actual, asked: int, foreign: bool
) -> None:
    owned, _, account_harness = _owned(JournalOwner(OURS, dict.fromkeys(known, "")), adopt=adopt)
    if foreign:
        with pytest.raises(ForeignJournal, match="none of the 1 fleets"):
            await owned.check_fleets(actual)
    else:
        await owned.check_fleets(actual)
    assert bool(account_harness.sandbox.requests) is bool(asked)


async def test_the_fleets_of_a_reading_are_recorded_in_harmless_text() -> None:
    owned, journal, _ = _owned(JournalOwner(OURS, {}))
    await owned.claim(_reading(VANS), managed={VANS, DEPOT})
    assert journal.claimed == (OURS, {VANS: "Fleet V"}, {VANS, DEPOT})


async def test_a_reading_of_drivers_only_keeps_the_names_that_the_journal_or_the_plan_has() -> None:
    owned, journal, _ = _owned(JournalOwner(OURS, {VANS: "Vans", NORTH: ""}))
    drivers = Actual({}, {A: frozenset({VANS, NORTH, DEPOT})})
    await owned.claim(drivers, managed=(), saved_names={VANS: "saved", NORTH: "North"})
    assert journal.claimed == (OURS, {VANS: "Vans", NORTH: "North", DEPOT: ""}, ())
