"""What takes long for a large account goes through `compute`, so that other accounts of the process go on."""

import dataclasses
import threading
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.lowlevel
import pytest

from tests.engine import accounts
from tests.support import harness
from worker.core.model.report import RunResult
from worker.engine import concurrency, run_context

pytestmark = pytest.mark.anyio

Result = TypeVar("Result")


class Recorder:
    """Computes at once, and counts."""

    def __init__(self) -> None:
        self.results: list[str] = []

    async def __call__(self, work: Callable[[], Result]) -> Result:
        result = work()
        self.results.append(type(result).__name__)
        return result


class Harness(harness.Harness):
    """An account whose runs compute as the test wants."""

    compute: concurrency.Compute

    def context(self) -> run_context.RunContext:
        return dataclasses.replace(super().context(), compute=self.compute)


async def test_plan_guard_intents_and_lanes_are_computed_beside_the_tasks_of_other_accounts() -> None:
    account = Harness(accounts.account())
    account.compute = recorder = Recorder()
    assert (await account.reconcile(accounts.WANTED)).result is RunResult.CONVERGED
    assert recorder.results == ["Desired", "Plan", "Decision", "GuardedPlan", "dict", "Work", "list"]


async def test_in_a_thread_other_tasks_go_on() -> None:
    beside, computed = threading.Event(), []

    async def work() -> None:
        computed.append(await concurrency.in_thread(lambda: beside.wait(30)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await anyio.lowlevel.checkpoint()
        beside.set()
    assert computed == [True]


async def test_without_a_process_around_it_a_run_computes_at_once() -> None:
    assert run_context.RunContext.__dataclass_fields__["compute"].default is concurrency.at_once
    assert await concurrency.at_once(threading.get_ident) == threading.get_ident()
