"""One account of a folder: when it begins, and that it tries again."""

import math

import anyio
import anyio.lowlevel
import pytest
import structlog
from anyio import to_thread

from tests.support import clocks
from worker.core.model.errors import FleetSyncError, JournalError, SettingsError, Stopped
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.core.monitoring.account_overview import Condition
from worker.service import account_runner, account_service
from worker.settings import model
from worker.web import metrics

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Threads read the files, and virtual time would not wait for them."""
    return "asyncio"


class Folder:
    """Implements account_runner.Folder with a file that can never be used."""

    def __init__(self) -> None:
        self.reads = 0
        self.released: list[str] = []

    def read(self, name: str) -> account_service.Operator:
        self.reads += 1
        raise SettingsError([Problem(f"{name}.toml:1:1", f"unusable, {self.reads}")])

    def claim(self, name: str, settings: model.Settings, key: Secret) -> None:
        raise AssertionError("nothing was read")

    def release(self, name: str) -> None:
        self.released.append(name)


@pytest.fixture
def folder() -> Folder:
    return Folder()


@pytest.fixture
def runner(folder: Folder) -> account_runner.AccountRunner:
    return account_runner.AccountRunner("acme", account_runner.Common(folder, clocks.Still(), metrics.Metrics()))


async def test_it_begins_once_its_predecessor_has_ended(folder: Folder, runner: account_runner.AccountRunner) -> None:
    predecessor = anyio.Event()
    to_thread.current_default_thread_limiter().total_tokens = 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: runner.run(delay=0, after=predecessor))
        await anyio.wait_all_tasks_blocked()
        await to_thread.run_sync(lambda: None)  # with one thread, behind whatever the account would read
        assert (folder.reads, runner.status().condition) == (0, Condition.STARTING)
        predecessor.set()
        with anyio.fail_after(30):
            while runner.error is None:
                await anyio.lowlevel.checkpoint()
        assert runner.status().condition is Condition.BROKEN
        runner.request_stop(Stopped("the test ends", exit_code=0))
    assert runner.ended.is_set()
    assert folder.released == ["acme"]


async def test_an_account_that_is_removed_before_it_began_reads_nothing(
    folder: Folder, runner: account_runner.AccountRunner
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: runner.run(delay=3600, after=None))
        await anyio.wait_all_tasks_blocked()
        await to_thread.run_sync(lambda: None)
        runner.remove()
    assert folder.reads == 0


async def test_a_changed_file_is_read_again_at_once(folder: Folder, runner: account_runner.AccountRunner) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: runner.run(delay=0, after=None))
        for number in (1, 2):
            if number == 2:
                runner.file_changed(delay=0)
            with anyio.fail_after(30):
                while runner.error is None or not runner.error.message.endswith(f", {number}"):
                    await anyio.lowlevel.checkpoint()
        runner.request_stop(Stopped("the test ends", exit_code=0))
    assert folder.reads == 2


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, math.inf), (1, 3.0), (2, 6.0), (3, 12.0), (4, 24.0), (5, 30.0), (50, 30.0)]
)
def test_what_fails_is_tried_again_after_growing_pauses(failures: int, seconds: float) -> None:
    assert account_runner.retry_seconds(failures) == seconds


async def test_an_account_that_does_not_run_has_nothing_to_drain_or_to_show(
    runner: account_runner.AccountRunner,
) -> None:
    runner.abort_writes()
    assert (runner.drain_seconds, runner.service, runner.is_ready()) == (0.0, None, False)
    shown = runner.status()
    assert (shown.name, shown.gist, shown.last_success, shown.broken) == ("acme", "Waiting to start", None, frozenset())


@pytest.mark.parametrize(
    ("error", "gist", "parts"),
    [
        (SettingsError([Problem("acme.toml:1:1", "wrong"), Problem("b", "too")]), "acme.toml:1:1: wrong", {"settings"}),
        (JournalError("the disk is full"), "the disk is full", set()),
    ],
)
async def test_an_account_that_does_not_run_says_why_in_one_line(
    runner: account_runner.AccountRunner, error: FleetSyncError, gist: str, parts: set[str]
) -> None:
    runner.error = error
    shown = runner.status()
    assert (shown.condition, shown.gist, set(shown.broken)) == (Condition.BROKEN, gist, parts)


async def test_the_first_reason_to_end_is_kept_and_one_that_runs_not_yet_never_begins(
    folder: Folder, runner: account_runner.AccountRunner
) -> None:
    runner.remove()
    runner.request_stop(Stopped("ended by SIGTERM", exit_code=143))
    assert runner._stopped is account_runner._REMOVED
    await runner.run(delay=0, after=None)
    assert (folder.reads, folder.released, runner.ended.is_set()) == (0, ["acme"], True)


async def test_a_changed_file_does_not_cut_the_pause_before_the_start_short(
    folder: Folder, runner: account_runner.AccountRunner
) -> None:
    """After a deployment of all files, accounts would otherwise begin at once."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: runner.run(delay=3600, after=None))
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            runner.file_changed(delay=0)
        await anyio.wait_all_tasks_blocked()
        await to_thread.run_sync(lambda: None)
        assert (folder.reads, runner.error) == (0, None)
        runner.remove()


async def test_the_same_error_is_logged_once_and_another_one_again(
    folder: Folder, runner: account_runner.AccountRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_runner, "retry_seconds", lambda failures: 0.0)
    errors = iter([JournalError("gone"), JournalError("gone"), JournalError("full"), JournalError("full")])

    def read(name: str) -> account_service.Operator:
        folder.reads += 1
        if (error := next(errors, None)) is None:
            runner.remove()
            raise JournalError("full")
        raise error

    monkeypatch.setattr(folder, "read", read)
    with structlog.testing.capture_logs() as lines:
        with anyio.fail_after(30):
            await runner.run(delay=0, after=None)
    assert [(line["event"], line["error"]) for line in lines] == [
        ("account_broken", "gone"),
        ("account_broken", "full"),
    ]
    assert folder.reads == 5


async def test_pauses_grow_with_the_failures_in_a_row(
    folder: Folder, runner: account_runner.AccountRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()

    def pause(failures: int) -> float:
        asked.append(failures)
        if failures == 4:
            runner.remove()
        return 0.0

    monkeypatch.setattr(account_runner, "retry_seconds", pause)
    with anyio.fail_after(30):
        await runner.run(delay=0, after=None)
    assert asked == [1, 2, 3, 4]
