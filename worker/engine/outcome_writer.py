"""Brings outcomes to the journal in groups, so that a commit is shared by all that happens within 50 ms.

Invariant: what was added is in the journal when `flush` returns, or the run is halted and says why.
Neighbours: `apply` adds outcomes, `core.ports.Journal` keeps them.
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
        """Take the journal; where it fails the run is halted."""
        self._journal = journal
        self._cancellation = run_cancellation
        self._waiting: list[tuple[IntentKey, Outcome]] = []

    def add(self, key: IntentKey, outcome: Outcome) -> None:
        """Note what came of an intent."""
        self._waiting.append((key, outcome))

    async def flush_regularly(self) -> None:
        """Flush every 50 ms, until cancelled."""
        while True:
            await anyio.sleep(GROUP_SECONDS)
            self._cancellation.heartbeat()
            await self.flush()

    async def flush(self) -> None:
        """Commit what waits, shielded from cancellation. A failure halts the run instead of being raised."""
        if not self._waiting:
            return
        group, self._waiting = self._waiting, []
        with anyio.CancelScope(shield=True):
            try:
                await self._journal.record(group)
            except JournalError as error:
                log.error("outcomes_unrecorded", outcomes=len(group), error=error.message)
                self._waiting = [*group, *self._waiting]  # the last flush tries once more
                self._cancellation.request_stop(error)
