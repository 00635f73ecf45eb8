"""Which reason a run reports where one failure follows another."""

import anyio
import pytest
import trio
import trio.testing

from tests.engine import applying
from tests.support import harness, memory_journal
from worker.core.model.errors import JournalError, ProcessSuspended, Unreachable
from worker.engine import cancellation

pytestmark = pytest.mark.anyio


async def test_a_reading_that_fails_after_a_suspension_reports_the_suspension() -> None:
    """The process slept: the broken connection is only what followed."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    run_cancellation = cancellation.Cancellation()
    with pytest.raises(ProcessSuspended):
        async with run_cancellation.reading():
            clock.jump(3600)
            raise Unreachable("the connection was reset")


async def test_a_reading_that_ends_after_a_suspension_is_not_used() -> None:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    run_cancellation = cancellation.Cancellation()
    with pytest.raises(ProcessSuspended):
        async with run_cancellation.reading():
            await anyio.sleep(1)
            clock.jump(3600)


class FullAfterTheWrites(memory_journal.MemoryJournal):
    """A journal that records the outcomes of the writes, and then has no more room for corrections."""

    async def record(self, group):  # type: ignore[no-untyped-def]
        if any(key in self.outcomes for key, _ in group):
            raise JournalError("no space left on device")
        await super().record(group)


async def test_a_correction_that_cannot_be_recorded_is_the_error_of_the_run() -> None:
    """Charge confirms an attach that it never makes, and the journal cannot take that back."""
    journal = FullAfterTheWrites()
    account = harness.Harness(
        harness.state_of({harness.VANS: []}, others=[harness.A]),
        journal=journal,
        new_transport=lambda: applying.lying(lambda: account, forward=False, fleets=[harness.VANS]),
    )
    report = await account.reconcile({harness.VANS: [harness.A]})
    assert isinstance(report.error, JournalError)
    assert report.exit_code == 1
