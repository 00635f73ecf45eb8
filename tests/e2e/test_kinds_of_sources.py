"""Sources that are no files: what is wanted is done, and what may not be whole changes nothing."""

import json
import pathlib

import pytest

from tests.e2e import conftest
from tests.sources import git_repositories, test_contract, workbooks


def _document(workspace: conftest.Workspace) -> str:
    """Return what Charge holds, without the last member of the first fleet."""
    members = workspace.members()
    first = next(iter(members))
    members[first] = members[first][:-1]
    return json.dumps({"fleets": members})


def _use(workspace: conftest.Workspace, source: str) -> None:
    settings = workspace.folder.settings
    settings.write_text(settings.read_text().partition("[[sources]]")[0] + f"[[sources]]\n{source}")


def _detaches_one(workspace: conftest.Workspace) -> None:
    ended = workspace.run("once", "--json")
    assert (ended.code, ended.document["result"]) == (0, "converged")
    assert [action for action, _, _ in workspace.changed()] == ["detach"]


def _changes_nothing(workspace: conftest.Workspace, code: str) -> None:
    ended = workspace.run("once", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (1, code)
    assert workspace.posts() == []


def test_http(workspace: conftest.Workspace) -> None:
    folder = workspace.folder.settings.parent
    with test_contract.HttpOrigin.serving(folder) as origin:
        keys = "".join(f"{key} = {json.dumps(text)}\n" for key, text in origin.keys.items())
        _use(workspace, f'kind = "http"\n{keys}')
        origin.body = _document(workspace).encode()
        origin.length = len(origin.body) - 1
        _changes_nothing(workspace, "source_incomplete")
        origin.length = None
        _detaches_one(workspace)


def test_a_workbook_whose_rows_the_record_and_a_saved_plan_name(workspace: conftest.Workspace) -> None:
    members = workspace.members()
    first, second = sorted(members)[:2]
    newcomers = [driver for driver in members[second] if driver not in members[first]][:2]
    rows = [("driver", "fleet"), *((driver, fleet) for fleet, drivers in members.items() for driver in drivers)]
    for newcomer in newcomers:
        rows.append((newcomer, first))
        (workspace.folder.path / "people.xlsx").write_bytes(workbooks.workbook(workbooks.sheet(rows)))
        if newcomer == newcomers[0]:
            _use(workspace, 'path = "people.xlsx"')
            assert workspace.run("once").code == 0
        else:
            assert workspace.run("plan", "--out", str(workspace.folder.path / "plan.json")).code == 0
            assert workspace.run("apply", str(workspace.folder.path / "plan.json")).code == 0
        place = f"people.xlsx:A{len(rows)}"
        assert place in workspace.run("why", newcomer).stdout
        assert place in workspace.run("show", workspace.newest_run()).stdout
        assert place in workspace.run("audit", "--format", "csv").stdout
        assert workspace.run("undo", workspace.newest_run()).code == 0


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("cat people.json; exit 1", "source_incomplete"),
        ("head -c 50 people.json", "source_invalid"),
        ("echo Warning; cat people.json", "source_invalid"),
        ("true", "source_empty"),
    ],
)
def test_command(script: str, code: str, workspace: conftest.Workspace) -> None:
    folder = workspace.folder.settings.parent
    (folder / "people.json").write_text(_document(workspace))
    _use(workspace, f'kind = "command"\nrun = ["sh", "-c", {json.dumps(script)}]\n')
    _changes_nothing(workspace, code)
    _use(workspace, 'kind = "command"\nrun = ["cat", "people.json"]\n')
    _detaches_one(workspace)


def test_git(workspace: conftest.Workspace, tmp_path: pathlib.Path) -> None:
    repository = git_repositories.Repository(tmp_path / "people")
    everyone = json.dumps({"fleets": workspace.members()})
    repository.commit({"people.json": everyone})
    _use(workspace, f'kind = "git"\nurl = "{repository.url}"\npath = "people.json"\n')
    assert workspace.run("once", "--json").document["result"] == "in_sync"
    repository.commit({"people.json": _document(workspace)}, amend=True)
    for _ in range(2):
        held = workspace.run("once", "--json")
        assert (held.code, held.document["result"]) == (3, "held")
        assert [each["guard"] for each in held.document["plan"]["held"]] == ["source_rewritten"]
        assert workspace.posts() == []
    assert workspace.run("approve", held.document["plan"]["held_digest"]).code == 0
    _detaches_one(workspace)
    driver = workspace.changed()[0][1]
    commit = repository.commit({"people.json": everyone})
    assert workspace.run("once").code == 0
    assert f"people.json@{commit[:12]}" in workspace.run("why", driver).stdout
