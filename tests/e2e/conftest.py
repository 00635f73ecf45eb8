"""An operator's workspace: a folder with an account's files, and the Charge that they are about, behind a real port."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests.support import command, served
from worker.sandbox import app, faults, http_types, quirks, state


class Workspace:
    """A sandbox, and the real command that works on it."""

    def __init__(self, folder: command.Folder, charge: app.Sandbox, url: str) -> None:
        """Begin with a document that says what Charge holds already."""
        self.folder = folder
        self.charge = charge
        self.url = url
        self.run = folder.run
        self.together = folder.together
        self.write = folder.write
        self.write(self.members())

    @property
    def people(self) -> state.SandboxState:
        """Give what Charge holds."""
        return self.charge.state

    def another(self, name: str, *, source: str) -> pathlib.Path:
        """Write settings of the same account with another source and a journal of its own: one journal, one writer."""
        settings = self.folder.settings.read_text().replace("membership.yaml", source)
        return self.write(f'{settings}\n[journal]\nurl = "sqlite:///{name}.db"\n', name)

    def members(self) -> dict[str, list[str]]:
        """Give the drivers of every fleet, in the order in which the fleets were made."""
        return {fleet: sorted(self.people.members(fleet)) for fleet in self.people.fleets}

    def changed(self) -> list[tuple[str, str, str]]:
        """Give every write that changed something: action, driver, fleet."""
        return [(effect.action, effect.driver, effect.fleet) for effect in self.people.effects if effect.changed]

    def posts(self) -> list[http_types.Record]:
        """Give every write that arrived, whatever became of it."""
        return [request for request in self.charge.requests if request.method == "POST"]


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
            charge = app.create(account, quirks=behaves, faults=goes_wrong)
            url = stack.enter_context(served.over_http(around(charge)))
            return Workspace(command.Folder(tmp_path, url, source=source), charge, url)

        yield make


@pytest.fixture
def workspace(open_workspace: Open) -> Workspace:
    """Sit down before 40 drivers in 4 fleets, and a Charge that does what it should."""
    return open_workspace()
