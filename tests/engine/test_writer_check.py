"""A process that is no longer the writer of its journal sends nothing, however late it finds out."""

import pytest

from tests.support import doubles, harness, memory_journal
from worker.core.model.errors import JournalError
from worker.sandbox import faults, http_types

pytestmark = pytest.mark.anyio

DRIVERS = [harness.driver_id(letter) for letter in "ABCDEFGH"]


class TakenOver(memory_journal.MemoryJournal):
    """A journal whose lock another process takes at some moment; counts the checks from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = False
        self.checks_after = 0

    async def check(self) -> None:
        if self.lost:
            self.checks_after += 1
            raise JournalError("another process is the writer", code="journal_lost")
        await super().check()


async def test_no_write_that_waited_for_its_turn_is_sent_after_the_lock_is_lost() -> None:
    """All lanes wait for a turn when the lock is lost. A check made before the wait would let each send one write."""
    journal = TakenOver()

    def lose_the_lock_at_the_first_write(request: http_types.Request) -> None:
        journal.lost = journal.lost or request.method == "POST"

    account = harness.Harness(
        harness.state_of({harness.VANS: []}, others=DRIVERS),
        journal=journal,
        faults=faults.Faults(script=lose_the_lock_at_the_first_write),
        requests_per_second=0.1,
        burst=1,
        concurrency=len(DRIVERS),
    )
    report = await account.reconcile({harness.VANS: DRIVERS})
    assert len(account.writes) == 1
    assert report.error is not None
    assert report.error.code == "journal_lost"


async def test_a_lost_lock_ends_the_run_for_every_lane() -> None:
    """The first lane that finds out stops the others: none of them asks again."""
    journal = TakenOver()
    account = harness.Harness(
        harness.state_of({harness.VANS: []}, others=DRIVERS), journal=journal, requests_per_second=1.0, burst=1
    )
    reconciler = account.new_reconciler(doubles.Source({harness.VANS: DRIVERS}))
    journal.lost = True
    report = await reconciler.reconcile(trigger="test")
    assert account.writes == []
    assert journal.checks_after == 1
    assert report.error is not None
    assert report.error.code == "journal_lost"
    assert report.counts["deferred"] == len(DRIVERS)
