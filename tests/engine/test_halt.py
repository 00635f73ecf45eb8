"""The end of a run: the first reason counts, reads are dropped, writes may finish, until they are cut."""

from collections.abc import Sequence

import anyio
import pytest
import trio
import trio.testing

from tests.support import doubles, rig
from worker.core import values
from worker.core.model.errors import JournalError, ProcessSuspended, Stopped
from worker.core.model.outcomes import Applied, Outcome
from worker.core.model.ports import Intent
from worker.engine import halt as halt_
from worker.engine import lanes, recorder
from worker.journal import memory

pytestmark = pytest.mark.anyio

FIRST, SECOND = Stopped("SIGTERM", exit_code=143), JournalError("full")


async def test_the_first_reason_stays() -> None:
    halt = halt_.Halt()
    halt.check()
    halt.stop(FIRST)
    halt.stop(SECOND)
    assert halt.reason is FIRST
    with pytest.raises(Stopped):
        halt.check()


async def test_reads_are_dropped_and_writes_finish() -> None:
    halt, finished = halt_.Halt(), []

    async def read() -> None:
        with pytest.raises(Stopped):
            async with halt.reading():
                await anyio.sleep(10)
        finished.append("read")

    async def write() -> None:
        with halt.writing():
            await anyio.sleep(10)
        finished.append("write")

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        await anyio.sleep(1)
        halt.stop(FIRST)
        await anyio.sleep(1)
        assert finished == ["read"]
    assert anyio.current_time() - start == pytest.approx(10)


async def test_a_cut_drops_writes_too() -> None:
    halt = halt_.Halt()
    async with anyio.create_task_group() as tasks:
        start = anyio.current_time()

        async def write() -> None:
            with halt.writing():
                await anyio.sleep(10)

        tasks.start_soon(write)
        await anyio.sleep(1)
        halt.stop(FIRST)
        halt.cut()
    assert anyio.current_time() - start == pytest.approx(1)


async def test_no_reading_begins_after_the_end() -> None:
    halt = halt_.Halt()
    halt.stop(FIRST)
    with pytest.raises(Stopped):
        async with halt.reading():
            raise AssertionError


async def test_lanes_keep_to_their_number_and_start_in_order() -> None:
    started: list[int] = []
    running = most = 0

    async def work(job: int) -> None:
        nonlocal running, most
        started.append(job)
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    await lanes.side_by_side(work, range(20), limit=3)
    assert (started, most) == (list(range(20)), 3)


async def test_the_first_failure_of_a_lane_ends_the_others_and_is_raised_as_it_is() -> None:
    done: list[int] = []

    async def work(job: int) -> None:
        if job == 1:
            await anyio.sleep(0.5)
            raise SECOND
        await anyio.sleep(1)
        done.append(job)

    with pytest.raises(JournalError) as caught:
        await lanes.side_by_side(work, range(20), limit=3)
    assert caught.value is SECOND
    assert done == []


async def test_no_jobs_are_no_work() -> None:
    done: list[int] = []

    async def work(job: int) -> None:
        done.append(job)

    await lanes.side_by_side(work, [])
    assert done == []


# --- The recorder -----------------------------------------------------------------------------------------


def _key(number: int) -> values.IntentKey:
    return values.IntentKey(f"key-{number}")


async def _begun(journal: memory.MemoryJournal) -> memory.MemoryJournal:
    """Begin a run with three intents."""
    changes = [values.Change(values.Action.ATTACH, rig.driver_id(letter), rig.fleet_id("V")) for letter in "ABC"]
    intents = [Intent(_key(number), change) for number, change in enumerate(changes)]
    await journal.begin(values.RunId("run_1"), trigger="test", guarded=doubles.guarded(changes), intents=intents)
    return journal


async def test_outcomes_reach_the_journal_in_groups_soon() -> None:
    journal = await _begun(memory.MemoryJournal())
    record = recorder.Recorder(journal=journal, halt=halt_.Halt())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(record.flush_regularly)
        for number in range(3):
            record.add(_key(number), Applied(1))
        assert journal.outcomes == {}
        await anyio.sleep(recorder.GROUP_SECONDS + 0.001)
        assert set(journal.outcomes) == {_key(0), _key(1), _key(2)}
        tasks.cancel_scope.cancel()


async def test_a_journal_that_fails_ends_the_run() -> None:
    halt = halt_.Halt()
    record = recorder.Recorder(journal=doubles.FailingJournal("record"), halt=halt)
    record.add(_key(1), Applied(1))
    await record.flush()
    assert isinstance(halt.reason, JournalError)


async def test_what_waits_is_recorded_even_while_all_is_cancelled() -> None:

    class SlowJournal(memory.MemoryJournal):
        async def record(self, group: Sequence[tuple[values.IntentKey, Outcome]]) -> None:
            await anyio.sleep(1)
            await super().record(group)

    journal = await _begun(SlowJournal())
    record = recorder.Recorder(journal=journal, halt=halt_.Halt())
    with anyio.CancelScope() as scope:
        record.add(_key(1), Applied(1))
        scope.cancel()
        await record.flush()
    assert set(journal.outcomes) == {_key(1)}


async def test_a_process_that_stood_still_between_reading_and_writing_writes_nothing() -> None:
    """The reading may have been true an hour ago. A beat that begins with the first write cannot know."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    driver, fleet = rig.driver_id("A"), rig.fleet_id("V")
    account = rig.Rig(rig.roster_of({fleet: []}, others=[driver]))
    cycle = account.cycle(doubles.Source({fleet: [driver]}), show=lambda survey: clock.jump(3600))
    finished = await cycle.reconcile(trigger="test")
    assert isinstance(finished.error, ProcessSuspended)
    assert rig.outcome(finished, driver, fleet) == "deferred"
    assert account.writes == []


async def test_to_work_for_long_is_no_pause() -> None:
    """Else a very large first import could never begin."""
    clock, cpu_time = trio.lowlevel.current_clock(), [0.0]
    assert isinstance(clock, trio.testing.MockClock)
    halt = halt_.Halt(cpu_time=lambda: cpu_time[0])
    async with halt.reading():
        await anyio.sleep(1)
    clock.jump(600)
    cpu_time[0] += 30
    halt.beat()
    halt.check()
    clock.jump(600)
    halt.beat()
    assert isinstance(halt.reason, ProcessSuspended)


async def test_a_machine_that_slept_stood_still_although_the_event_loop_saw_no_time_pass() -> None:
    slept = [0.0]
    halt = halt_.Halt(uptime=lambda: anyio.current_time() + slept[0])
    async with halt.reading():
        await anyio.sleep(1)
    slept[0] += 3600
    halt.beat()
    assert isinstance(halt.reason, ProcessSuspended)


async def test_a_long_reading_is_no_pause() -> None:
    halt = halt_.Halt()
    for _ in range(2):
        async with halt.reading():
            await anyio.sleep(3600)
        halt.beat()
    halt.check()


@pytest.mark.parametrize("after", [0.0, 1.0], ids=["at its end", "in the middle"])
async def test_a_process_that_stood_still_while_it_read_has_read_nothing(after: float) -> None:
    """Half of it was true before, the other half afterwards."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    halt = halt_.Halt()
    with pytest.raises(ProcessSuspended, match="stood still for 360"):
        async with halt.reading():
            clock.jump(3600)
            await anyio.sleep(after)


async def test_what_a_reading_raises_is_raised_as_it_is() -> None:
    with pytest.raises(JournalError) as caught:
        async with halt_.Halt().reading():
            raise SECOND
    assert caught.value is SECOND


class SlowlyChecked(memory.MemoryJournal):
    """A journal that takes a second to say that this is the one writer still."""

    async def check(self) -> None:
        await anyio.sleep(1)
        await super().check()


async def test_a_write_is_not_sent_where_the_end_comes_while_the_journal_is_asked() -> None:
    driver, fleet = rig.driver_id("A"), rig.fleet_id("V")
    account = rig.Rig(rig.roster_of({fleet: []}, others=[driver]), journal=SlowlyChecked())

    async def stop() -> None:
        await anyio.sleep(0.5)
        account.halt.stop(FIRST)

    async with anyio.create_task_group() as tasks:
        cycle = account.cycle(doubles.Source({fleet: [driver]}))
        tasks.start_soon(stop)
        finished = await cycle.reconcile(trigger="test")
    assert finished.error is FIRST
    assert rig.outcome(finished, driver, fleet) == "deferred"
    assert account.writes == []


async def test_a_group_that_could_not_be_recorded_is_tried_once_more_in_the_end() -> None:
    """A disk that is full for a moment loses no outcome."""

    class Stumbling(memory.MemoryJournal):
        async def record(self, group: Sequence[tuple[values.IntentKey, Outcome]]) -> None:
            self.record = super().record  # type: ignore[method-assign] # only once
            raise JournalError("no space left on device")

    journal = await _begun(Stumbling())
    record = recorder.Recorder(journal=journal, halt=halt_.Halt())
    record.add(_key(1), Applied(1))
    await record.flush()
    assert journal.outcomes == {}
    record.add(_key(2), Applied(1))
    await record.flush()
    assert set(journal.outcomes) == {_key(1), _key(2)}
