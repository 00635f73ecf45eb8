"""One account of a folder: when it begins, and that it tries again."""

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from tests.support import clocks
from worker.core.model.errors import SettingsError, Stopped
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.core.monitoring.account_overview import Condition
from worker.service import account_keeper, account_service
from worker.settings import model
from worker.web import metrics

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Threads read the files, and virtual time would not wait for them."""
    return "asyncio"


class Folder:
    """Implements account_keeper.Folder with a file that can never be used."""

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
def keeper(folder: Folder) -> account_keeper.AccountKeeper:
    return account_keeper.AccountKeeper("acme", account_keeper.Common(folder, clocks.Still(), metrics.Metrics()))


async def test_it_begins_once_its_predecessor_has_ended(folder: Folder, keeper: account_keeper.AccountKeeper) -> None:
    predecessor = anyio.Event()
    to_thread.current_default_thread_limiter().total_tokens = 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: keeper.run(delay=0, after=predecessor))
        await anyio.wait_all_tasks_blocked()
        await to_thread.run_sync(lambda: None)  # with one thread, behind whatever the account would read
        assert (folder.reads, keeper.status().condition) == (0, Condition.STARTING)
        predecessor.set()
        with anyio.fail_after(30):
            while keeper.error is None:
                await anyio.lowlevel.checkpoint()
        assert keeper.status().condition is Condition.BROKEN
        keeper.request_stop(Stopped("the test ends", exit_code=0))
    assert keeper.ended.is_set()
    assert folder.released == ["acme"]


async def test_an_account_that_is_removed_before_it_began_reads_nothing(
    folder: Folder, keeper: account_keeper.AccountKeeper
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: keeper.run(delay=3600, after=None))
        await anyio.wait_all_tasks_blocked()
        await to_thread.run_sync(lambda: None)
        keeper.remove()
    assert folder.reads == 0


async def test_a_changed_file_is_read_again_at_once(folder: Folder, keeper: account_keeper.AccountKeeper) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: keeper.run(delay=0, after=None))
        for number in (1, 2):
            if number == 2:
                keeper.file_changed(delay=0)
            with anyio.fail_after(30):
                while keeper.error is None or not keeper.error.message.endswith(f", {number}"):
                    await anyio.lowlevel.checkpoint()
        keeper.request_stop(Stopped("the test ends", exit_code=0))
    assert folder.reads == 2
