"""docs/sources.md: its settings are those of the example files, and read them as the page says."""

import datetime
import pathlib
import tomllib

import anyio
import pytest

from tests.docs import pages
from worker.core.model.desired import SourceReading
from worker.core.model.errors import SourceError
from worker.service import source_factory
from worker.settings import loader, source_kinds

PAGE = pages.page("docs/sources.md")
EXAMPLES = pages.ROOT / "docs" / "examples"
NAMES = ("spreadsheet", "hr-export")


def read(settings: pathlib.Path) -> SourceReading:
    (source,) = source_factory.create(loader.load(settings, {}))
    return anyio.run(source.read)


def copy(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Copy an example, with new times of change; return the path of its settings."""
    for path in (EXAMPLES / name).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / "fleet-sync.toml"


def test_the_settings_on_the_page_are_those_of_the_examples() -> None:
    shown = [block.text for block in PAGE.blocks("toml")[: len(NAMES)]]
    assert shown == [(EXAMPLES / name / "fleet-sync.toml").read_text() for name in NAMES]
    assert all(len(text.splitlines()) < 25 for text in shown)


def test_each_kind_has_settings_that_can_be_loaded(tmp_path: pathlib.Path) -> None:
    kinds = {"file"}
    for block in PAGE.blocks("toml")[len(NAMES) :]:
        if "plugins" in block.text:
            continue
        (tmp_path / "fleet-sync.toml").write_text(block.text)
        (source,) = source_factory.create(loader.load(tmp_path / "fleet-sync.toml", {}))
        kinds.add(source.kind)
    assert kinds == {*source_kinds.KINDS}


def test_the_spreadsheet_is_read(tmp_path: pathlib.Path) -> None:
    reading = read(copy("spreadsheet", tmp_path))
    assert [(str(row.driver), str(row.fleet)) for row in reading.rows] == [
        ("alice@example.com", '"Paris vans"'),
        ("bob@example.com", '"Lyon vans"'),
    ]
    (table,) = [list(cells) for cells in [PAGE.section("## From a spreadsheet").rows()]]
    text = (EXAMPLES / "spreadsheet" / "drivers.csv").read_text("utf-8-sig")
    assert [";".join(cells) for cells in table] == text.splitlines()[1:3]


def test_a_new_depot_is_the_error_that_the_page_shows(tmp_path: pathlib.Path) -> None:
    settings = copy("spreadsheet", tmp_path)
    path = tmp_path / "drivers.csv"
    path.write_bytes(path.read_bytes().replace(b";;\r\n", b"eve@example.com;Eve Dubois X;Nantes\r\n"))
    (shown,) = PAGE.blocks("text")
    with pytest.raises(SourceError) as caught:
        read(settings)
    assert [str(problem) for problem in caught.value.problems] == shown.lines


def test_the_hr_export_is_read(tmp_path: pathlib.Path) -> None:
    settings = copy("hr-export", tmp_path)
    reading = read(settings)
    assert [(str(row.driver), str(row.fleet)) for row in reading.rows] == [
        ("employee_id=004711", "flt_HpGdGBwWHWAAZnAxuxiPdUiO8uLj8Kk8"),
        ("employee_id=004712", '"Cologne shuttle"'),
        ("employee_id=004714", '"Cologne shuttle"'),
    ]
    assert reading.rows[2].ends == datetime.datetime(2027, 4, 1, tzinfo=datetime.UTC)
    assert len(reading.fleets) == 2


@pytest.mark.parametrize("lost", range(1, 60))
def test_an_hr_export_that_is_cut_short_is_incomplete(lost: int, tmp_path: pathlib.Path) -> None:
    settings = copy("hr-export", tmp_path)
    path = tmp_path / "personal.csv"
    path.write_bytes(path.read_bytes().removesuffix(b"\r\n")[:-lost])
    with pytest.raises(SourceError) as caught:
        read(settings)
    assert caught.value.code == "source_incomplete"


def test_an_hr_export_of_ten_thousand_people_and_nineteen_columns_is_read(tmp_path: pathlib.Path) -> None:
    """The settings name six columns; the others may be anywhere."""
    settings = copy("hr-export", tmp_path)
    used = ["Personalnummer", "Abteilung", "Status", "Eintritt", "Austritt"]
    header = [*(f"Spalte {number}" for number in range(14)), *used]
    (scope,) = [source["fleets"] for source in tomllib.loads(settings.read_text())["sources"]]
    lines = [";".join(header)]
    for number in range(10_000):
        department = [*scope, "Buchhaltung"][number % 3]
        status = ["Aktiv", "Ausgeschieden", "Elternzeit", "Aktiv"][number % 4]
        lines.append(";".join([*["Straße"] * 14, f"{number:06}", department, status, "01.02.2020", ""]))
    text = "\r\n".join([*lines, "ENDE;10000"]) + "\r\n"
    (tmp_path / "personal.csv").write_bytes(text.encode("cp1252"))
    reading = read(settings)
    expected = [number for number in range(10_000) if number % 3 != 2 and number % 4 != 1]
    assert [str(row.driver) for row in reading.rows] == [f"employee_id={number:06}" for number in expected]
