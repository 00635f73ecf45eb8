"""`fleet-sync audit`: every run and change once, in order, from wherever the last call ended."""

import csv
import io
import json
from typing import Any

import pytest

from tests.e2e import conftest
from worker.cli import audit
from worker.sandbox import state


@pytest.fixture
def busy(open_workspace: conftest.Open) -> conftest.Workspace:
    """Return an account with three runs: two attaches, nothing, one detach."""
    people = state.SandboxState()
    vans = people.add_fleet(name="Paris, vans")
    drivers = [people.add_driver(name=name, fleets=[vans]) for name in ("Emma", "Noah", "Léa")]
    newcomers = [people.add_driver(name=name) for name in ("=Eve", "Jan\nBonnet")]
    workspace = open_workspace(people)
    for members in ([*drivers, *newcomers], [*drivers, *newcomers], [*drivers[1:], *newcomers]):
        workspace.write({vans: members})
        assert workspace.run("once").code == 0
    return workspace


def _lines(workspace: conftest.Workspace, *options: str) -> list[dict[str, Any]]:
    ended = workspace.run("audit", *options)
    assert (ended.code, ended.stderr) == (0, "")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_it_has_every_run_with_its_changes_the_oldest_first(busy: conftest.Workspace) -> None:
    lines = _lines(busy)
    assert {line["format"] for line in lines} == {audit.FORMAT}
    assert [line["record"] for line in lines] == ["run", "change", "change", "run", "run", "change"]
    assert [line["result"] for line in lines if line["record"] == "run"] == ["converged", "in_sync", "converged"]
    changes = [line for line in lines if line["record"] == "change"]
    assert [(each["action"], each["outcome"], each["fleet_name"]) for each in changes] == [
        ("attach", "applied", "Paris, vans"),
        ("attach", "applied", "Paris, vans"),
        ("detach", "applied", "Paris, vans"),
    ]
    assert changes[2]["driver_name"] == "Emma" and changes[0]["origin"].startswith("membership.yaml:")
    assert all(each["request_id"].startswith("req_") for each in changes)
    assert {key for line in lines for key in line} == {"format", *audit.COLUMNS}


def test_it_goes_on_after_the_last_run_that_was_printed(busy: conftest.Workspace) -> None:
    whole = _lines(busy)
    for line in whole:
        rest = _lines(busy, "--since", line["run"])
        assert rest == [each for each in whole if each["time"] > line["time"] and each["run"] != line["run"]]
    assert _lines(busy, "--since", whole[-1]["run"]) == []
    assert _lines(busy, "--since", "1999-01-01") == whole
    assert _lines(busy, "--since", "2999-01-01T00:00:00Z") == []


def test_a_run_that_does_not_exist_and_what_is_no_time_are_errors(busy: conftest.Workspace) -> None:
    ended = busy.run("audit", "--since", "run_nowhere")
    assert (ended.code, ended.stdout) == (1, "") and "no run in the journal begins with" in ended.stderr
    ended = busy.run("audit", "--since", "yesterday")
    assert (ended.code, ended.stdout) == (64, "") and "neither a run nor a time" in ended.stderr


def test_a_table_has_the_same_and_starts_no_formula(busy: conftest.Workspace) -> None:
    ended = busy.run("audit", "--format", "csv")
    header, *rows = csv.reader(io.StringIO(ended.stdout))
    assert tuple(header) == audit.COLUMNS
    lines = _lines(busy)
    assert len(rows) == len(lines) == len(ended.stdout.splitlines()) - 1
    for row, line in zip(rows, lines, strict=True):
        cells = dict(zip(header, row, strict=True))
        assert (cells["run"], cells["record"], cells["driver"]) == (line["run"], line["record"], line.get("driver", ""))
    names = {row[header.index("driver_name")] for row in rows}
    assert "'=Eve" in names and "=Eve" not in names


def test_a_run_in_progress_is_left_to_the_next_call(busy: conftest.Workspace) -> None:
    whole = _lines(busy)
    busy.change_journal("UPDATE runs SET finished = NULL, result = NULL WHERE run = ?", whole[-1]["run"])
    assert _lines(busy) == whole[:-2]
    first = whole[0]["run"]
    busy.change_journal("UPDATE runs SET finished = NULL, result = NULL WHERE run = ?", first)
    cut_off = _lines(busy)
    assert (cut_off[0]["run"], cut_off[0]["result"]) == (first, None)
