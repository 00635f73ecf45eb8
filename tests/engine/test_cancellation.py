"""The end of a run: the first reason counts, reads are dropped, writes may finish, until they are cut."""

from collections.abc import Sequence

import anyio
import pytest
import trio
import trio.testing

from tests.support import doubles, harness, memory_journal
from worker.core.model.errors import JournalError, ProcessSuspended, Stopped
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.outcomes import Applied, Outcome
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent
from worker.engine import cancellation, concurrency, outcome_writer

pytestmark = pytest.mark.anyio

FIRST, SECOND = Stopped("SIGTERM", exit_code=143), JournalError("full")


async def test_the_first_reason_stays() -> None:
    run_cancellation = cancellation.Cancellation()
    run_cancellation.check()
    run_cancellation.request_stop(FIRST)
    run_cancellation.request_stop(SECOND)
    assert run_cancellation.reason is FIRST
    with pytest.raises(Stopped):
        run_cancellation.check()


async def test_reads_are_dropped_and_writes_finish() -> None:
    run_cancellation, finished = cancellation.Cancellation(), []

    async def read() -> None:
        with pytest.raises(Stopped):
            async with run_cancellation.reading():
                await anyio.sleep(10)
        finished.append("read")

    async def write() -> None:
        with run_cancellation.writing():
            await anyio.sleep(10)
        finished.append("write")

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        await anyio.sleep(1)
        run_cancellation.request_stop(FIRST)
        await anyio.sleep(1)
        assert finished == ["read"]
    assert anyio.current_time() - start == pytest.approx(10)


async def test_a_cut_drops_writes_too() -> None:
    run_cancellation = cancellation.Cancellation()
    async with anyio.create_task_group() as tasks:
        start = anyio.current_time()

        async def write() -> None:
            with run_cancellation.writing():
                await anyio.sleep(10)

        tasks.start_soon(write)
        await anyio.sleep(1)
        run_cancellation.request_stop(FIRST)
        run_cancellation.abort_writes()
    assert anyio.current_time() - start == pytest.approx(1)


async def test_no_reading_begins_after_the_end() -> None:
    run_cancellation = cancellation.Cancellation()
    run_cancellation.request_stop(FIRST)
    with pytest.raises(Stopped):
        async with run_cancellation.reading():
            raise AssertionError


async def test_no_jobs_are_no_work() -> None:
    done: list[int] = []

    async def work(job: int) -> None:
        done.append(job)

    await concurrency.run_bounded(work, [])
    assert done == []


# --- The recorder -----------------------------------------------------------------------------------------


def _key(number: int) -> IntentKey:
    return IntentKey(f"key-{number}")


async def _begun(journal: memory_journal.MemoryJournal) -> memory_journal.MemoryJournal:
    """Begin a run with three intents."""
    changes = [Change(Action.ATTACH, harness.driver_id(letter), harness.fleet_id("V")) for letter in "ABC"]
    intents = [Intent(_key(number), change) for number, change in enumerate(changes)]
    await journal.begin(RunId("run_1"), trigger="test", guarded=doubles.guarded(changes), intents=intents)
    return journal


async def test_outcomes_reach_the_journal_in_groups_soon() -> None:
    journal = await _begun(memory_journal.MemoryJournal())
    record = outcome_writer.OutcomeWriter(journal=journal, run_cancellation=cancellation.Cancellation())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(record.flush_regularly)
        for number in range(3):
            record.add(_key(number), Applied(1))
        assert journal.outcomes == {}
        await anyio.sleep(outcome_writer.GROUP_SECONDS + 0.001)
        assert set(journal.outcomes) == {_key(0), _key(1), _key(2)}
        tasks.cancel_scope.cancel()


async def test_what_could_not_be_recorded_is_tried_again_without_a_further_outcome() -> None:
    """A disk that was full may have space again while the run drains."""

    class Full(memory_journal.MemoryJournal):
        attempts = 0

        async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
            self.attempts += 1
            if self.attempts == 1:
                raise JournalError("no space left on device")
            await super().record(group)

    journal = Full()
    await _begun(journal)
    record = outcome_writer.OutcomeWriter(journal=journal, run_cancellation=cancellation.Cancellation())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(record.flush_regularly)
        record.add(_key(0), Applied(1))
        await anyio.sleep(3 * outcome_writer.GROUP_SECONDS)
        assert set(journal.outcomes) == {_key(0)}
        await anyio.sleep(3600)
        assert journal.attempts == 2
        tasks.cancel_scope.cancel()


async def test_the_writer_sleeps_until_there_is_something_to_write() -> None:
    class Counting(outcome_writer.OutcomeWriter):
        flushes = 0

        async def flush(self) -> None:
            self.flushes += 1
            await super().flush()

    record = Counting(
        journal=await _begun(memory_journal.MemoryJournal()), run_cancellation=cancellation.Cancellation()
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(record.flush_regularly)
        for number in (0, 1):
            record.add(_key(number), Applied(1))
            await anyio.sleep(3600)
            assert record.flushes == number + 1
        tasks.cancel_scope.cancel()


async def test_a_journal_that_fails_ends_the_run() -> None:
    run_cancellation = cancellation.Cancellation()
    record = outcome_writer.OutcomeWriter(journal=doubles.FailingJournal("record"), run_cancellation=run_cancellation)
    record.add(_key(1), Applied(1))
    await record.flush()
    assert isinstance(run_cancellation.reason, JournalError)


async def test_what_waits_is_recorded_even_while_all_is_cancelled() -> None:

    class SlowJournal(memory_journal.MemoryJournal):
        async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
            await anyio.sleep(1)
            await super().record(group)

    journal = await _begun(SlowJournal())
    record = outcome_writer.OutcomeWriter(journal=journal, run_cancellation=cancellation.Cancellation())
    with anyio.CancelScope() as scope:
        record.add(_key(1), Applied(1))
        scope.cancel()
        await record.flush()
    assert set(journal.outcomes) == {_key(1)}


async def test_a_process_that_stood_still_between_reading_and_writing_writes_nothing() -> None:
    """The reading may have been true an hour ago. A beat that begins with the first write cannot know."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    driver, fleet = harness.driver_id("A"), harness.fleet_id("V")
    account = harness.Harness(harness.state_of({fleet: []}, others=[driver]))
    cycle = account.new_reconciler(doubles.Source({fleet: [driver]}), show=lambda plan_result: clock.jump(3600))
    finished = await cycle.reconcile(trigger="test")
    assert isinstance(finished.error, ProcessSuspended)
    assert harness.outcome(finished, driver, fleet) == "deferred"
    assert account.writes == []


async def test_to_work_for_long_is_no_pause() -> None:
    """Else a very large first import could never begin."""
    clock, cpu_time = trio.lowlevel.current_clock(), [0.0]
    assert isinstance(clock, trio.testing.MockClock)
    run_cancellation = cancellation.Cancellation(cpu_time=lambda: cpu_time[0])
    async with run_cancellation.reading():
        await anyio.sleep(1)
    clock.jump(600)
    cpu_time[0] += 30
    run_cancellation.heartbeat()
    run_cancellation.check()
    clock.jump(600)
    run_cancellation.heartbeat()
    assert isinstance(run_cancellation.reason, ProcessSuspended)


async def test_a_machine_that_slept_stood_still_although_the_event_loop_saw_no_time_pass() -> None:
    slept = [0.0]
    run_cancellation = cancellation.Cancellation(uptime=lambda: anyio.current_time() + slept[0])
    async with run_cancellation.reading():
        await anyio.sleep(1)
    slept[0] += 3600
    run_cancellation.heartbeat()
    assert isinstance(run_cancellation.reason, ProcessSuspended)


async def test_a_long_reading_is_no_pause() -> None:
    run_cancellation = cancellation.Cancellation()
    for _ in range(2):
        async with run_cancellation.reading():
            await anyio.sleep(10 * cancellation.MAX_SILENCE)
        run_cancellation.heartbeat()
    run_cancellation.check()
    assert run_cancellation.reason is None


@pytest.mark.parametrize("after", [0.0, 1.0], ids=["at its end", "in the middle"])
async def test_a_process_that_stood_still_while_it_read_has_read_nothing(after: float) -> None:
    """Half of it was true before, the other half afterwards."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    run_cancellation = cancellation.Cancellation()
    with pytest.raises(ProcessSuspended, match="suspended for 360"):
        async with run_cancellation.reading():
            clock.jump(3600)
            await anyio.sleep(after)


async def test_what_a_reading_raises_is_raised_as_it_is() -> None:
    with pytest.raises(JournalError) as caught:
        async with cancellation.Cancellation().reading():
            raise SECOND
    assert caught.value is SECOND


class SlowlyChecked(memory_journal.MemoryJournal):
    """A journal that takes a second to say that this is the one writer still."""

    async def check(self) -> None:
        await anyio.sleep(1)
        await super().check()


async def test_a_write_is_not_sent_where_the_end_comes_while_the_journal_is_asked() -> None:
    driver, fleet = harness.driver_id("A"), harness.fleet_id("V")
    account = harness.Harness(harness.state_of({fleet: []}, others=[driver]), journal=SlowlyChecked())

    async def stop() -> None:
        await anyio.sleep(0.5)
        account.run_cancellation.request_stop(FIRST)

    async with anyio.create_task_group() as tasks:
        cycle = account.new_reconciler(doubles.Source({fleet: [driver]}))
        tasks.start_soon(stop)
        finished = await cycle.reconcile(trigger="test")
    assert finished.error is FIRST
    assert harness.outcome(finished, driver, fleet) == "deferred"
    assert account.writes == []


async def test_a_group_that_could_not_be_recorded_is_tried_once_more_in_the_end() -> None:
    """A disk that is full for a moment loses no outcome."""

    class Stumbling(memory_journal.MemoryJournal):
        async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
            self.record = super().record  # type: ignore[method-assign] # only once
            raise JournalError("no space left on device")

    journal = await _begun(Stumbling())
    record = outcome_writer.OutcomeWriter(journal=journal, run_cancellation=cancellation.Cancellation())
    record.add(_key(1), Applied(1))
    await record.flush()
    assert journal.outcomes == {}
    record.add(_key(2), Applied(1))
    await record.flush()
    assert set(journal.outcomes) == {_key(1), _key(2)}
