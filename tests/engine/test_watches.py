"""The watches over pauses and over the clock, as each attempt of a change asks them."""

import datetime

import anyio
import pytest

from tests.engine.applying import attach, detach
from tests.support import clocks, harness, memory_journal
from tests.support.harness import DEPOT, VANS, A
from worker.core.model.actual import StatedTime
from worker.core.model.errors import ChangeWithheld, JournalError
from worker.core.model.pauses import Pause
from worker.core.model.plan import Change
from worker.engine import clock_check, pause_watch

pytestmark = pytest.mark.anyio

HOUR = datetime.timedelta(hours=1)


class Pausing(memory_journal.MemoryJournal):
    """A journal whose pauses are set from outside, or which cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.in_force: tuple[Pause, ...] = ()
        self.reads = 0
        self.fails = False

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        self.reads += 1
        if self.fails:
            raise JournalError("locked")
        return self.in_force


def _watch(*, ignored: bool = False) -> tuple[pause_watch.PauseWatch, Pausing]:
    journal = Pausing()
    context = harness.Harness(harness.state_of({}), journal=journal).context()
    return pause_watch.PauseWatch(context, ignored=ignored), journal


def _is_withheld(watch: pause_watch.PauseWatch, change: Change) -> bool:
    try:
        watch.check(change)
    except ChangeWithheld as error:
        assert error.code == "writes_paused"
        return True
    return False


async def test_a_pause_covers_the_changes_of_its_fleet_until_it_is_over() -> None:
    watch, journal = _watch()
    journal.in_force = (Pause(clocks.NOON, fleet=DEPOT), Pause(clocks.NOON, fleet=VANS))
    assert not _is_withheld(watch, attach(A, VANS)), "nothing was read yet"
    await watch.refresh()
    assert _is_withheld(watch, attach(A, VANS))
    journal.in_force = journal.in_force[:1]
    await watch.refresh()
    assert (_is_withheld(watch, attach(A, VANS)), _is_withheld(watch, detach(A, DEPOT))) == (False, True)


async def test_a_journal_that_cannot_be_read_ends_no_pause() -> None:
    watch, journal = _watch()
    journal.in_force = (Pause(clocks.NOON),)
    await watch.refresh()
    journal.fails = True
    await watch.refresh()
    assert _is_withheld(watch, attach(A, VANS))


async def test_pauses_are_read_again_every_second() -> None:
    watch, journal = _watch()
    with anyio.move_on_after(3.5):
        await watch.run_forever()
    assert journal.reads == 3


async def test_who_applies_a_plan_in_spite_of_a_pause_looks_for_none() -> None:
    watch, journal = _watch(ignored=True)
    journal.in_force = (Pause(clocks.NOON),)
    await watch.refresh()
    with anyio.fail_after(0.5):
        await watch.run_forever()
    assert (journal.reads, _is_withheld(watch, attach(A, VANS))) == (0, False)


# --- The clock ---------------------------------------------------------------------------------------------


class Stating:
    """Implements actual.TimeSource."""

    def __init__(self) -> None:
        self.stated: list[StatedTime] = []

    def stated_times(self) -> list[StatedTime]:
        return self.stated


class Remembering(memory_journal.MemoryJournal):
    """A journal with an entry."""

    entry: datetime.datetime | None = None

    async def newest_entry(self) -> datetime.datetime | None:
        return self.entry


async def test_only_what_charge_stated_in_this_run_counts() -> None:
    await anyio.sleep(100)
    charge, clock = Stating(), clocks.Wall()
    check = clock_check.ClockCheck(charge=charge, journal=Remembering(), clock=clock)
    charge.stated = [StatedTime(clocks.NOON + HOUR, clock.uptime() - 1)]
    assert check.assess().trusted, "that was before the run"
    charge.stated = [StatedTime(clocks.NOON + HOUR, clock.uptime())]
    assert not check.assess().trusted


async def test_a_clock_that_is_set_during_the_run_is_noticed_at_any_moment() -> None:
    clock = clocks.Wall()
    check = clock_check.ClockCheck(charge=Stating(), journal=Remembering(), clock=clock)
    await anyio.sleep(3600)
    assert check.assess().trusted
    clock.ahead = HOUR
    assert not check.assess().trusted


async def test_the_newest_entry_of_the_journal_counts_once_it_was_asked_for() -> None:
    journal = Remembering()
    journal.entry = clocks.NOON + HOUR
    check = clock_check.ClockCheck(charge=Stating(), journal=journal, clock=clocks.Wall())
    assert check.assess().trusted
    await check.learn()
    assert not check.assess().trusted


@pytest.mark.parametrize(
    ("change", "dated", "right", "wrong"),
    [
        (attach(A, VANS), False, "", ""),
        (attach(A, VANS), True, "", "clock_not_trusted"),
        (detach(A, VANS), False, "", "clock_not_trusted"),
    ],
)
async def test_a_wrong_clock_withholds_detaches_and_what_rests_on_dates(
    change: Change, dated: bool, right: str, wrong: str
) -> None:
    clock = clocks.Wall()
    check = clock_check.ClockCheck(charge=Stating(), journal=Remembering(), clock=clock)
    for ahead, code in ((0 * HOUR, right), (HOUR, wrong)):
        clock.ahead = ahead
        found = ""
        try:
            check.check(change, dated=dated)
        except ChangeWithheld as error:
            found = error.code
        assert found == code
