"""`fleet-sync init`: the first files of an account, and the first minutes with them."""

import pathlib

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import app, state


def _environ(workspace: conftest.Workspace) -> dict[str, str]:
    return {"CHARGE_API_KEY": app.KEY, "FLEET_SYNC_CHARGE__BASE_URL": workspace.url}


def test_a_new_account_starts_in_sync_with_what_charge_holds(
    workspace: conftest.Workspace, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    ended = command.run("init", "--from-account", environ=_environ(workspace), cwd=folder)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Wrote config/fleet-sync.toml and config/membership.yaml.\n")
    assert {path.name for path in (folder / "config").iterdir()} == {"fleet-sync.toml", "membership.yaml"}
    # The address of the API is in the file: from now on, only the key is needed.
    ended = command.run("plan", environ={"CHARGE_API_KEY": app.KEY}, cwd=folder)
    assert (ended.code, ended.stdout) == (
        0,
        f"In sync: {len(workspace.people.memberships())} memberships in 4 fleets.\n",
    )
    assert workspace.posts() == []


@pytest.mark.parametrize(
    "place",
    [
        {"CHARGE_API_KEY": app.KEY},
        {"CHARGE_API_KEY_FILE": "acme/key"},
        {"FLEET_SYNC_CHARGE__API_KEY_FILE": "key"},
        {"FLEET_SYNC_CHARGE__API_KEY_COMMAND": '["cat", "acme/key"]'},
    ],
    ids=lambda place: next(iter(place)),
)
@pytest.mark.parametrize("options", [[], ["--from-account"]], ids=["sample", "account"])
def test_a_key_that_is_there_already_is_used_and_not_asked_for(
    workspace: conftest.Workspace, tmp_path: pathlib.Path, place: dict[str, str], options: list[str]
) -> None:
    """The variable that it would name wins over the file, whose relative path begins at the settings."""
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme/key").write_text(app.KEY)
    environ = {"FLEET_SYNC_CHARGE__BASE_URL": workspace.url, **place}
    ended = command.run("--config", "acme/fleet-sync.toml", "init", *options, environ=environ, cwd=tmp_path)
    assert (ended.code, ended.stderr) == (0, "")
    assert "CHARGE_API_KEY" not in ended.stdout


def test_the_sample_passes_the_check_and_needs_neither_key_nor_network(tmp_path: pathlib.Path) -> None:
    ended = command.run("--config", "acme.toml", "init", cwd=tmp_path)
    assert (ended.code, ended.stderr) == (0, "")
    assert (
        "  export CHARGE_API_KEY=…" in ended.stdout and "  fleet-sync --config acme.toml check --online" in ended.stdout
    )
    assert command.run("--config", "acme.toml", "check", cwd=tmp_path).code == 0


@pytest.mark.parametrize("name", ["fleet-sync.toml", "membership.yaml"])
@pytest.mark.parametrize("options", [[], ["--from-account"]], ids=["sample", "account"])
def test_nothing_is_overwritten_and_nothing_else_written(
    workspace: conftest.Workspace, tmp_path: pathlib.Path, name: str, options: list[str]
) -> None:
    folder = tmp_path / "new" / "config"
    folder.mkdir(parents=True)
    (folder / name).write_text("mine")
    ended = command.run("init", *options, environ=_environ(workspace), cwd=folder.parent)
    assert ended.code == 1
    assert f"config/{name}: this file exists already" in ended.stderr and "Nothing was written." in ended.stderr
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "mine"
    assert workspace.charge.requests == []


def test_a_link_to_nowhere_counts_as_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "membership.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    ended = command.run("--config", "fleet-sync.toml", "init", cwd=tmp_path)
    assert ended.code == 1
    assert "membership.yaml: this file exists already" in ended.stderr
    assert not (tmp_path / "elsewhere.yaml").exists() and not (tmp_path / "fleet-sync.toml").exists()


def test_where_the_second_file_cannot_be_written_the_first_is_taken_back(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    ended = command.run("--config", "file/fleet-sync.toml", "init", cwd=tmp_path)
    assert ended.code == 1
    assert "file/fleet-sync.toml: this file cannot be written" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_a_key_or_with_a_wrong_one_nothing_is_written(
    workspace: conftest.Workspace, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for key in ({}, {"CHARGE_API_KEY": "ch_sk_test_of_somebody_else"}):
        environ = {"FLEET_SYNC_CHARGE__BASE_URL": workspace.url, **key}
        assert command.run("init", "--from-account", environ=environ, cwd=folder).code == 1
    assert not list(folder.iterdir())


def test_an_empty_account_is_said_to_be_empty(open_workspace: conftest.Open, tmp_path: pathlib.Path) -> None:
    people = state.SandboxState()
    people.add_fleet(name="Paris vans")
    workspace = open_workspace(people)
    folder = tmp_path / "new"
    folder.mkdir()
    ended = command.run("init", "--from-account", environ=_environ(workspace), cwd=folder)
    assert ended.code == 0
    assert "# Paris vans" in (folder / "config" / "membership.yaml").read_text()


def test_a_missing_settings_file_names_init_in_one_line(tmp_path: pathlib.Path) -> None:
    expected = (
        "config/fleet-sync.toml: settings file not found: create one with `fleet-sync init`, or pass --config FILE\n"
    )
    for name in ("plan", "once", "run", "history"):
        ended = command.run(name, cwd=tmp_path)
        assert (ended.code, ended.stdout, ended.stderr) == (1, "", f"error: {expected}")
    ended = command.run("check", cwd=tmp_path)
    assert (ended.code, ended.stdout) == (1, expected)
