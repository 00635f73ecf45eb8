"""Documents of a realistic size and with realistic names, in every format."""

import json
import os
import pathlib
from collections.abc import Callable, Iterable

import anyio
import pytest

from tests.sources import conftest
from tests.support import file_sources
from worker.core.model.desired import DriverByEmail, FleetByName
from worker.core.model.errors import SourceError
from worker.core.planning import merge_sources
from worker.service import source_factory
from worker.settings import loader

FLEETS = [f"Fleet {number}" for number in range(60)]
"""Three times the nesting allowed: a parser that counts levels and forgets to count down refuses them as too deep."""


def _driver(fleet: str) -> str:
    return f"{fleet.lower().replace(' ', '-')}@example.com"


def _json(fleets: Iterable[str]) -> str:
    return json.dumps({"fleets": {fleet: [{"driver": _driver(fleet), "note": "one row"}] for fleet in fleets}})


def _yaml(fleets: Iterable[str]) -> str:
    return "fleets:\n" + "".join(
        f"  {fleet}:\n    - driver: {_driver(fleet)}\n      note: one row\n" for fleet in fleets
    )


def _flow_yaml(fleets: Iterable[str]) -> str:
    return "fleets:\n" + "".join(f"  {fleet}: [{{driver: {_driver(fleet)}, note: one row}}]\n" for fleet in fleets)


def _toml(fleets: Iterable[str]) -> str:
    rows = (f'"{fleet}" = [{{ driver = "{_driver(fleet)}", note = "one row" }}]\n' for fleet in fleets)
    return "[fleets]\n" + "".join(rows)


def _csv(fleets: Iterable[str]) -> str:
    return "driver,fleet,note\n" + "".join(f"{_driver(fleet)},{fleet},one row\n" for fleet in fleets)


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.json", _json), ("a.yaml", _yaml), ("b.yaml", _flow_yaml), ("a.toml", _toml), ("a.csv", _csv)],
    ids=["json", "yaml", "flow yaml", "toml", "csv"],
)
def test_a_document_may_have_many_fleets_of_one_row(
    name: str, write: Callable[[Iterable[str]], str], read: conftest.Read
) -> None:
    rows = [(row.fleet, row.driver) for row in read(name, write(FLEETS)).rows]
    assert rows == [(FleetByName(fleet), DriverByEmail(_driver(fleet))) for fleet in FLEETS]


TEAMS = """Team,Description,Handle,Member
release,"Cuts releases, and patches",Alice,alice
release,"Cuts releases, and patches",ALICE,Alice
release,"Cuts releases, and patches",bob,bob
docs,Writes,carol,carol
guests,Everybody else,dave,dave
"""


def test_a_public_list_of_teams_is_read_by_a_mapping_alone(tmp_path: pathlib.Path) -> None:
    """Its members are handles in two spellings, its teams have descriptions, and not every team is a fleet."""
    (tmp_path / "teams.csv").write_text(TEAMS)
    (tmp_path / "fleet-sync.toml").write_text("""[[sources]]
path = "teams.csv"
  [sources.rows]
  driver = "{Handle}@acme.example"
  fleet = "{Team}"
  note = "{Description}"
  other_fleets = "ignore"
  [sources.fleets]
  release = "Release vans"
  docs = "Docs vans"
  nobody = "Empty vans"
""")
    desired = merge_sources.merge(
        [anyio.run(source.read) for source in source_factory.create(loader.load(tmp_path / "fleet-sync.toml", {}))]
    )
    assert [(str(row.driver), str(row.fleet)) for row in desired.rows] == [
        ("alice@acme.example", '"Release vans"'),
        ("bob@acme.example", '"Release vans"'),
        ("carol@acme.example", '"Docs vans"'),
    ]
    assert [note.code for note in desired.notices] == ["duplicate_row"]
    assert {str(entry.fleet) for entry in desired.fleets} == {'"Release vans"', '"Docs vans"', '"Empty vans"'}


@pytest.mark.parametrize("name", ["Équipe de nuit.yaml", "配送.yaml", "Zoë.yaml", "🚚.yaml"])
def test_a_document_may_have_a_name_in_any_alphabet(name: str, tmp_path: pathlib.Path) -> None:
    """Alone, and among others in a folder; places are reported under exactly that name."""
    (tmp_path / name).write_text(_yaml(["North"]), encoding="utf-8")
    (tmp_path / "ascii.yaml").write_text(_yaml(["South"]), encoding="utf-8")
    alone = anyio.run(file_sources.of(tmp_path / name, name).read)
    together = anyio.run(file_sources.of(tmp_path, "teams").read)
    assert [row.origin.name for row in alone.rows] == [name]
    assert {row.origin.name for row in together.rows} == {f"teams/{name}", "teams/ascii.yaml"}


def test_a_document_whose_name_is_not_utf_8_is_an_error_that_shows_the_name_escaped(tmp_path: pathlib.Path) -> None:
    path = tmp_path / os.fsdecode(b"d\xe9p\xf4t.yaml")
    try:
        path.write_text(_yaml(["North"]), encoding="utf-8")
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    with pytest.raises(SourceError) as caught:
        anyio.run(file_sources.of(tmp_path, "teams").read)
    (problem,) = caught.value.problems
    assert problem.where.isascii()
    assert "UTF-8" in problem.message
