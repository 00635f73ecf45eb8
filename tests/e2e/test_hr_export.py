"""The HR export of the documentation in its real size: 10,000 people, 19 columns, and settings of under 25 lines."""

import pathlib
import random

from tests.e2e import conftest
from worker.sandbox import state

SETTINGS = pathlib.Path(__file__).parents[2] / "docs/examples/hr-export/fleet-sync.toml"
OWN = ("Personalnummer", "Nachname", "Vorname", "Abteilung", "Status", "Eintritt", "Austritt")
FURTHER = tuple(f"Spalte {number}" for number in range(12))
MUNICH, COLOGNE = "Fahrdienst München", "Fahrdienst Köln"


def test_the_export_of_a_whole_company_moves_drivers_by_department_and_status(
    open_workspace: conftest.Open,
) -> None:
    people = state.SandboxState.populate(drivers=60, fleets=2)
    workspace = open_workspace(people)
    first, second = people.fleets
    everyone = [people.drivers[driver].metadata["employee_id"] for driver in people.drivers]
    members = {
        fleet: [people.drivers[driver].metadata["employee_id"] for driver in sorted(people.members(fleet))]
        for fleet in people.fleets
    }
    leaver, mover = members[first][0], members[first][1]
    newcomer = next(number for number in everyone if number not in {*members[first], *members[second]})
    rows = [*_staff(members[first][2:], MUNICH), *_staff([*members[second], mover, newcomer], COLOGNE)]
    rows += _staff([leaver], MUNICH, status="Ausgeschieden")
    rows += _staff([f"K{number:05}" for number in range(10_000 - len(rows))], "Buchhaltung")
    random.Random(1).shuffle(rows)
    _write(workspace.folder.path / "personal.csv", rows)
    settings = _settings(workspace, first, second)
    assert len(settings.splitlines()) < 25 + 5  # of which five are about the sandbox
    workspace.folder.settings.write_text(settings)

    ended = workspace.run("once", "--json")
    assert (ended.code, ended.document["result"]) == (0, "converged")
    assert ended.document["plan"]["sources"][0]["rows"] == 10_000
    assert ended.document["plan"]["sources"][0]["proof"] == "trailer"
    after = {
        fleet: {people.drivers[driver].metadata["employee_id"] for driver in people.members(fleet)}
        for fleet in people.fleets
    }
    assert after == {first: set(members[first][2:]), second: {*members[second], mover, newcomer}}

    whole = (workspace.folder.path / "personal.csv").read_bytes()
    (workspace.folder.path / "personal.csv").write_bytes(whole[: len(whole) // 2])
    cut = workspace.run("once", "--json")
    assert (cut.code, cut.document["error"]["code"]) == (1, "source_incomplete")
    assert workspace.run("check").code == 1


def _staff(numbers: list[str], department: str, *, status: str = "Aktiv") -> list[list[str]]:
    return [[number, "Müller", "Jörg", department, status, "01.04.2019", "", *["Straße 1"] * 12] for number in numbers]


def _write(path: pathlib.Path, rows: list[list[str]]) -> None:
    lines = [";".join(cells) for cells in ([*OWN, *FURTHER], *rows)]
    path.write_bytes("\r\n".join([*lines, f"ENDE;{len(rows)}", ""]).encode("cp1252"))


def _settings(workspace: conftest.Workspace, first: str, second: str) -> str:
    """Return the settings of the documentation for this sandbox's address and fleets."""
    documented = SETTINGS.read_text(encoding="utf-8")
    scoped = documented.replace("flt_HpGdGBwWHWAAZnAxuxiPdUiO8uLj8Kk8", first).replace(
        "Cologne shuttle", workspace.people.fleets[second].name
    )
    assert first in scoped
    return f'{scoped}\n[charge]\nbase_url = "{workspace.url}"\n[rate_limit]\nrequests_per_second = 2000\n'
