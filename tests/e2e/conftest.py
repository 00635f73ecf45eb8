"""An operator's workspace: a folder with the files of an account, and a sandbox on a real port."""

import contextlib
import math
import pathlib
import sqlite3
import threading
from collections.abc import Callable, Iterator

import anyio.to_thread
import pytest

from tests.support import command, served
from worker.sandbox import app, faults, http_types, quirks, state

CROWD = 300
"""How many drivers are to join the fleet of `crowd`."""

NO_KEY = {"CHARGE_API_KEY": ""}
"""Environment of a command that must need no key."""


class Workspace:
    """A sandbox and the real command that runs against it."""

    def __init__(self, folder: command.Folder, charge: app.Sandbox, url: str) -> None:
        """Start with a document that matches Charge."""
        self.folder = folder
        self.charge = charge
        self.url = url
        self.run = folder.run
        self.together = folder.together
        self.write = folder.write
        self.write(self.members())

    @property
    def people(self) -> state.SandboxState:
        """Return the state of the sandbox."""
        return self.charge.state

    def another(self, name: str, *, source: str) -> pathlib.Path:
        """Write settings of the same account with another source and its own journal: a journal has one writer."""
        settings = self.folder.settings.read_text().replace("membership.yaml", source)
        return self.write(f'{settings}\n[journal]\nurl = "sqlite:///{name}.db"\n', name)

    def members(self) -> dict[str, list[str]]:
        """Return the drivers of every fleet, in the order of creation of the fleets."""
        return {fleet: sorted(self.people.members(fleet)) for fleet in self.people.fleets}

    def halved(self) -> dict[str, list[str]]:
        """Return the second half of every fleet's drivers: a document that the guard holds."""
        return {fleet: drivers[len(drivers) // 2 :] for fleet, drivers in self.members().items()}

    def newest_run(self) -> str:
        """Return the id of the newest run in the journal."""
        run: str
        [(run,)] = self.folder.journal("select run from runs order by started desc limit 1")
        return run

    def changed(self) -> list[tuple[str, str, str]]:
        """Return every write that changed something: action, driver, fleet."""
        return [(effect.action, effect.driver, effect.fleet) for effect in self.people.effects if effect.changed]

    def change_journal(self, statement: str, *values: str) -> None:
        """Change the journal behind the program's back."""
        with contextlib.closing(sqlite3.connect(self.folder.path / "fleet-sync.db")) as database, database:
            database.execute(statement, values)

    def posts(self) -> list[http_types.Record]:
        """Return every write request that arrived, whatever its outcome."""
        return [request for request in self.charge.requests if request.method == "POST"]


class Gate:
    """Holds the answers to writes, except for the first `free`, until it is opened. What is held has taken effect."""

    def __init__(self) -> None:
        """Start open."""
        self.free: float = math.inf
        self._arrived = 0
        self._opened = threading.Event()

    def open(self) -> None:
        """Let every answer pass from now on."""
        self.free = math.inf
        self._opened.set()

    def around(self, inner: http_types.App) -> http_types.App:
        """Return the sandbox behind the gate."""

        async def answer(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
            is_write = scope.get("method") == "POST"
            self._arrived += is_write
            is_held = is_write and self._arrived > self.free

            async def send_later(message: http_types.Message) -> None:
                if is_held:
                    await anyio.to_thread.run_sync(self._opened.wait, command.LONGEST)
                await send(message)

            await inner(scope, receive, send_later)

        return answer


Open = Callable[..., Workspace]


@pytest.fixture
def open_workspace(tmp_path: pathlib.Path) -> Iterator[Open]:
    """Return a function that makes workspaces. `around` wraps the sandbox in another application."""
    with contextlib.ExitStack() as stack:

        def make(
            people: state.SandboxState | None = None,
            *,
            behaves: quirks.Quirks = quirks.PLAUSIBLE,
            goes_wrong: faults.Faults = faults.NONE,
            around: Callable[[http_types.App], http_types.App] = lambda inner: inner,
            source: str = "membership.yaml",
        ) -> Workspace:
            account = people or state.SandboxState.populate(drivers=40, fleets=4)
            charge = app.Sandbox(account, quirks=behaves, faults=goes_wrong)
            url = stack.enter_context(served.over_http(around(charge)))
            return Workspace(command.Folder(tmp_path, url, source=source), charge, url)

        yield make


@pytest.fixture
def workspace(open_workspace: Open) -> Workspace:
    """Return a workspace with 40 drivers in 4 fleets and no faults."""
    return open_workspace()


@pytest.fixture
def moved(workspace: Workspace) -> Workspace:
    """Return a workspace after a run that applied two attaches and a detach."""
    first, second, *_ = members = workspace.members()
    members[first] = members[first][1:]
    members[second] += [driver for driver in workspace.people.drivers if driver not in members[second]][:2]
    workspace.write(members)
    assert workspace.run("once").code == 0
    assert len(workspace.changed()) == 3
    return workspace


@pytest.fixture
def gate() -> Gate:
    """Return the gate of `crowd`."""
    return Gate()


@pytest.fixture
def crowd(open_workspace: Open, gate: Gate) -> Workspace:
    """Return a workspace in which 300 drivers are to join a fleet and each request takes 50 ms at least."""
    people = state.SandboxState()
    fleet = people.add_fleet(name="Vans")
    drivers = [people.add_driver() for _ in range(CROWD)]
    workspace = open_workspace(people, behaves=quirks.Quirks(latency_seconds=0.05), around=gate.around)
    workspace.write({fleet: drivers})
    return workspace
