"""Writes outcomes to the journal in groups, so that all outcomes within 50 ms share a commit.

Invariant: when `flush` returns, every outcome that was added is in the journal, or the run is stopped with the reason.
Neighbours: `driver_lane` adds outcomes, `core.model.ports.Journal` keeps them.
"""

import anyio
import structlog

from worker.core.model.errors import JournalError
from worker.core.model.identifiers import IntentKey
from worker.core.model.outcomes import Outcome
from worker.core.model.ports import Journal
from worker.engine import cancellation

log = structlog.get_logger()

GROUP_SECONDS = 0.05


class OutcomeWriter:
    """The outcomes of one run on their way to the journal."""

    def __init__(self, *, journal: Journal, run_cancellation: cancellation.Cancellation) -> None:
        """Take the journal; the run is stopped if it fails."""
        self._journal = journal
        self._cancellation = run_cancellation
        self._pending: list[tuple[IntentKey, Outcome]] = []
        self._added = anyio.Event()

    def add(self, key: IntentKey, outcome: Outcome) -> None:
        """Take the outcome of an intent."""
        self._pending.append((key, outcome))
        self._added.set()

    async def flush_regularly(self) -> None:
        """Flush 50 ms after the first outcome of each group, until cancelled."""
        while True:
            await self._added.wait()
            await anyio.sleep(GROUP_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Commit the pending outcomes, shielded from cancellation. A failure stops the run instead of being raised."""
        if not self._pending:
            return
        group, self._pending = self._pending, []
        self._added = anyio.Event()
        with anyio.CancelScope(shield=True):
            try:
                await self._journal.record(group)
            except JournalError as error:
                log.error("outcomes_unrecorded", outcomes=len(group), error=error.message)
                self._pending = [*group, *self._pending]  # the next flush tries once more
                self._added.set()
                self._cancellation.request_stop(error)
