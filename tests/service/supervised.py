"""A folder of accounts, each with a Charge of its own, and a supervisor whose looks at it a test takes."""

import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from anyio import abc

from tests.support import command, served
from worker.core.model.errors import Stopped
from worker.core.monitoring.account_overview import AccountStatus, Condition
from worker.sandbox import app as sandbox
from worker.sandbox import state
from worker.service import account_reader, account_supervisor
from worker.web import metrics

pytestmark = pytest.mark.anyio


class Folder:
    """A folder of accounts, each with a Charge of its own."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.charges: dict[str, sandbox.Sandbox] = {}
        self.urls: dict[str, str] = {}
        self.stack = contextlib.ExitStack()
        self.reader = account_reader.FolderReader(path, {})
        self.write("_defaults", '[secrets]\npath = "key-{account}"\n')

    def add(self, name: str, *, settings: str = "", charge: str = "") -> None:
        """Write the files of an account that matches its Charge, or the one of another account."""
        if not charge:
            self.charges[name] = sandbox.Sandbox(state.SandboxState.populate(drivers=6, fleets=2))
            self.urls[name] = self.stack.enter_context(served.over_http(self.charges[name]))
        of = charge or name
        people = self.charges[of].state
        members = command.document({fleet: sorted(people.members(fleet)) for fleet in people.fleets})
        (self.path / f"{name}.yaml").write_text(members)
        (self.path / f"key-{name}").write_text(sandbox.KEY)
        self.write(name, f'[charge]\nbase_url = "{self.urls[of]}"\n[[sources]]\npath = "{name}.yaml"\n{settings}')

    def write(self, name: str, text: str) -> None:
        (self.path / f"{name}.toml").write_text(text)

    def remove(self, name: str) -> None:
        (self.path / f"{name}.toml").unlink()

    def text(self, name: str) -> str:
        return (self.path / f"{name}.toml").read_text()


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what threads and tasks do, with a deadline that only a hang can reach."""
    with anyio.fail_after(30):
        while not happened():  # noqa: ASYNC110 - there is no event for every state
            await anyio.sleep(0.01)


class Supervised:
    """A supervisor whose looks at the folder the test takes."""

    def __init__(self, supervisor: account_supervisor.AccountSupervisor, tasks: abc.TaskGroup) -> None:
        self.supervisor = supervisor
        self.tasks = tasks

    async def scan(self) -> None:
        """Scan twice, because a change counts once two scans agree."""
        await self.supervisor.follow(self.tasks)
        await self.supervisor.follow(self.tasks)

    def accounts(self) -> dict[str, AccountStatus]:
        return {each.name: each for each in self.supervisor.status().accounts}

    async def until(self, happened: Callable[[dict[str, AccountStatus]], bool]) -> dict[str, AccountStatus]:
        """Wait until the accounts are so."""
        await until(lambda: happened(self.accounts()))
        return self.accounts()

    async def until_in_sync(self, *names: str) -> None:
        await self.until(lambda seen: all(seen[name].condition is Condition.IN_SYNC for name in names))


@contextlib.asynccontextmanager
async def supervised(reader: account_supervisor.Reader) -> AsyncIterator[Supervised]:
    supervisor = account_supervisor.AccountSupervisor(reader, reader.read_defaults(), metrics.Metrics())
    await supervisor.scan()
    async with anyio.create_task_group() as tasks:
        supervisor.start(tasks)
        try:
            yield Supervised(supervisor, tasks)
        finally:
            supervisor.request_stop(Stopped("the test ends", exit_code=0))
