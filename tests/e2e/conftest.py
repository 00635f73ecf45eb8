"""An operator's desk: a folder with an account's files, and the Charge that they are about, behind a real port."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests.support import command, served
from worker.sandbox import app, behaviour, faults, messages, roster


class Desk:
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
    def people(self) -> roster.Roster:
        """Give what Charge holds."""
        return self.charge.roster

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

    def posts(self) -> list[messages.Record]:
        """Give every write that arrived, whatever became of it."""
        return [request for request in self.charge.requests if request.method == "POST"]


Open = Callable[..., Desk]


@pytest.fixture
def open_desk(tmp_path: pathlib.Path) -> Iterator[Open]:
    """Make desks with other people, behaviour or faults than `desk`; `around` wraps the sandbox."""
    with contextlib.ExitStack() as stack:

        def make(
            people: roster.Roster | None = None,
            *,
            behaves: behaviour.Behaviour = behaviour.PLAUSIBLE,
            goes_wrong: faults.Faults = faults.NONE,
            around: Callable[[messages.App], messages.App] = lambda inner: inner,
            source: str = "membership.yaml",
        ) -> Desk:
            account = people or roster.Roster.populate(drivers=40, fleets=4)
            charge = app.create(account, behaviour=behaves, faults=goes_wrong)
            url = stack.enter_context(served.over_http(around(charge)))
            return Desk(command.Folder(tmp_path, url, source=source), charge, url)

        yield make


@pytest.fixture
def desk(open_desk: Open) -> Desk:
    """Sit down before 40 drivers in 4 fleets, and a Charge that does what it should."""
    return open_desk()
