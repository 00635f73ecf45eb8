"""A journal that forgets: for tests, and for the demonstration.

Invariant: behaves as the durable one does, but for durability. Neighbours: implements `core.ports.Journal`; `sql` is
the one for real accounts.
"""

from collections.abc import Sequence

from worker.core import errors, outcomes, ports, report, values


class MemoryJournal:
    """Implements ports.Journal in memory; what it holds may be looked at."""

    def __init__(self) -> None:
        """Start empty."""
        self.plans: dict[values.RunId, values.Judged] = {}
        self.intents: dict[values.IntentKey, values.Change] = {}
        self.outcomes: dict[values.IntentKey, outcomes.Outcome] = {}
        self.reports: dict[values.RunId, report.Report] = {}

    async def begin(
        self, run: values.RunId, *, trigger: str, judged: values.Judged, intents: Sequence[ports.Intent]
    ) -> None:
        """Record the run, its plan and its intents."""
        if reused := self.intents.keys() & {intent.key for intent in intents}:
            raise errors.JournalError(f"the idempotency keys {sorted(reused)} are recorded already")
        self.plans[run] = judged
        self.intents.update((intent.key, intent.change) for intent in intents)

    async def record(self, run: values.RunId, group: Sequence[tuple[values.IntentKey, outcomes.Outcome]]) -> None:
        """Record outcomes."""
        self.outcomes.update(group)

    async def finish(self, run: values.RunId, finished: report.Report) -> None:
        """Record the end of the run."""
        self.reports[run] = finished
