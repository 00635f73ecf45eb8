"""Many jobs at a time, and background tasks: a failure comes out as itself."""

import anyio
import pytest

from worker.core.model.errors import FleetSyncError, JournalError
from worker.engine import concurrency

pytestmark = pytest.mark.anyio


async def test_jobs_are_started_in_order_and_no_more_at_a_time_than_allowed() -> None:
    begun: list[int] = []
    running = most = 0

    async def work(job: int) -> None:
        nonlocal running, most
        begun.append(job)
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    before = anyio.current_time()
    await concurrency.run_bounded(work, range(10), limit=4)
    assert (begun, most, anyio.current_time() - before) == (list(range(10)), 4, 3)


async def test_the_first_failure_ends_all_jobs() -> None:
    begun: list[int] = []

    async def work(job: int) -> None:
        begun.append(job)
        await anyio.sleep(job)
        raise JournalError(f"job {job}")

    before = anyio.current_time()
    with pytest.raises(JournalError, match="job 1"):
        await concurrency.run_bounded(work, [3, 1, 2, 0], limit=2)
    assert (begun, anyio.current_time() - before) == ([3, 1], 1)


@pytest.mark.parametrize("compute", [concurrency.at_once, concurrency.in_thread])
async def test_what_is_computed_is_returned(compute: concurrency.Compute) -> None:
    assert await compute(lambda: 7) == 7


async def _fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [JournalError("gone"), OSError("gone"), ValueError("gone")])
async def test_a_failure_beside_background_tasks_or_in_one_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error), match="gone"):
        async with concurrency.background_tasks() as background:
            background.start_soon(anyio.sleep_forever)
            raise error
    with pytest.raises(type(error), match="gone"):
        async with concurrency.background_tasks() as background:
            background.start_soon(_fail, error)
            await anyio.sleep_forever()


async def test_two_defects_at_once_are_both_shown() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with concurrency.background_tasks() as background:
            background.start_soon(_fail, ValueError("one"))
            background.start_soon(_fail, ValueError("two"))
            await anyio.sleep_forever()
    assert {str(each) for each in caught.value.exceptions} == {"one", "two"}


async def test_background_tasks_end_with_the_block() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("background")

    with anyio.fail_after(1):
        async with concurrency.background_tasks() as background:
            background.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
    assert ended == ["background"]
    with pytest.raises(FleetSyncError):
        async with concurrency.background_tasks() as background:
            background.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            raise FleetSyncError("the block ends early")
    assert ended == ["background"] * 2
