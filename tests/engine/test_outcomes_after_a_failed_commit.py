"""A commit of outcomes that fails is repeated with the same outcomes for the same intents."""

from collections.abc import Sequence

import pytest

from tests.engine import applying
from tests.support import doubles, harness, memory_journal
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.outcomes import Applied, Deferred, Outcome, Refused
from worker.core.model.ports import Intent
from worker.engine import cancellation, outcome_writer
from worker.sandbox import faults, http_types, quirks

pytestmark = pytest.mark.anyio

DRIVERS = [harness.driver_id(letter) for letter in "ABCDEF"]


class FailingOnce(memory_journal.MemoryJournal):
    """A journal whose disk is full at its first commit of outcomes."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[list[tuple[IntentKey, Outcome]]] = []

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        self.commits.append(list(group))
        if len(self.commits) == 1:
            raise JournalError("no space left on device")
        await super().record(group)


async def test_a_group_whose_commit_failed_is_committed_unchanged_before_what_came_later() -> None:
    journal = FailingOnce()
    intents = [Intent(IntentKey(f"key-{driver}"), applying.attach(driver, harness.VANS)) for driver in DRIVERS[:3]]
    changes = [intent.change for intent in intents]
    await journal.begin(RunId("run_1"), trigger="test", guarded=doubles.guarded(changes), intents=intents)
    outcomes: list[Outcome] = [
        Applied(1, "req_1"),
        Refused(1, "invalid", "no", "req_2"),
        Deferred(0, "stopped", "not sent"),
    ]
    first, second, third = zip((intent.key for intent in intents), outcomes, strict=True)
    writer = outcome_writer.OutcomeWriter(journal=journal, run_cancellation=cancellation.Cancellation())
    writer.add(*first)
    writer.add(*second)
    await writer.flush()
    writer.add(*third)
    await writer.flush()
    assert journal.commits == [[first, second], [first, second, third]]


async def test_each_intent_has_the_outcome_of_its_own_change_after_a_failed_commit() -> None:
    """Some writes are applied, some refused, some not sent any more: outcomes cannot be swapped unnoticed."""
    journal = FailingOnce()

    def refuse_every_second(request: http_types.Request) -> str | None:
        write_to_every_second = request.method == "POST" and any(driver in request.path for driver in DRIVERS[::2])
        return "not_found" if write_to_every_second else None

    account = harness.Harness(
        harness.state_of({harness.VANS: []}, others=DRIVERS),
        journal=journal,
        faults=faults.Faults(script=refuse_every_second),
        quirks=quirks.Quirks(latency_seconds=0.1),
        concurrency=2,
    )
    report = await account.reconcile({harness.VANS: DRIVERS})
    assert len(journal.commits) > 1
    assert {result.outcome.name for result in report.results} == {"applied", "refused", "deferred"}
    recorded = {journal.intents[key].driver: outcome for key, outcome in journal.outcomes.items()}
    assert recorded == {result.change.driver: result.outcome for result in report.results}
