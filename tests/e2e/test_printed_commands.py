"""What a command prints to be pasted works when it is pasted, also if the settings file is named by an option."""

import re
import shlex

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.cli import main
from worker.sandbox import app

_COMMANDS = re.compile(r"^  (fleet-sync .+)$|: (fleet-sync .+)$|`(fleet-sync [^`]+)`", re.MULTILINE)


def _run(workspace: conftest.Workspace, *arguments: str) -> command.Ended:
    return command.run(*arguments, environ={"CHARGE_API_KEY": app.KEY}, cwd=workspace.folder.path)


def _printed(ended: command.Ended) -> list[list[str]]:
    """Return the arguments of every command in an output."""
    found = ("".join(groups) for groups in _COMMANDS.findall(ended.stdout + ended.stderr))
    return [shlex.split(each)[1:] for each in found]


@pytest.fixture
def halved(workspace: conftest.Workspace) -> conftest.Workspace:
    """Return a workspace whose settings and plan have spaces in their names, and whose plan is held."""
    workspace.folder.settings.rename(workspace.folder.path / "our account.toml")
    workspace.write(workspace.halved())
    return workspace


def test_the_way_from_a_held_plan_to_its_changes_can_be_pasted(halved: conftest.Workspace) -> None:
    options = ["--config", "our account.toml"]
    planned = _run(halved, *options, "plan", "--out", "a plan.json")
    once, approve, apply = _printed(planned)
    assert [each[:2] for each in (once, approve, apply)] == [options] * 3
    assert [_run(halved, *each).code for each in (approve, apply)] == [0, 0]
    assert len(halved.changed()) > 0


def test_a_plan_that_is_held_when_it_is_applied_says_how_to_apply_it_again(halved: conftest.Workspace) -> None:
    options = ["--config", "our account.toml"]
    assert _run(halved, *options, "plan", "--out", "plan.json").code == 3
    call = [*options, "apply", "plan.json", "--max-age", "36h", "--during-pause"]
    approve, again = _printed(_run(halved, *call))
    assert again == call
    assert [_run(halved, *each).code for each in (approve, again)] == [0, 0]


def test_a_pause_of_one_fleet_says_how_to_end_that_pause_alone(halved: conftest.Workspace) -> None:
    fleet = next(iter(halved.people.fleets))
    options = ["--config", "our account.toml"]
    assert _run(halved, *options, "pause").code == 0
    [resume] = _printed(_run(halved, *options, "pause", "--fleet", fleet))
    assert _run(halved, *resume).stdout.startswith(f"Resumed: {fleet}")
    assert _run(halved, *options, "resume").stdout.startswith("Resumed: all fleets")


@pytest.mark.parametrize("text", [None, "[[sources]]\npath = 'none.yaml'\n", "base = 1\n"])
def test_the_remedy_of_an_error_can_be_pasted(workspace: conftest.Workspace, text: str | None) -> None:
    workspace.folder.settings.unlink()
    if text is not None:
        workspace.write(f"[charge]\nbase_url = '{workspace.url}'\n{text}", "acme.toml")
    for name in ("plan", "check"):
        ended = _run(workspace, "--config", "acme.toml", name)
        printed = _printed(ended)
        assert printed or name == "check"
        assert {tuple(each[:2]) for each in printed} <= {("--config", "acme.toml")}
        for each in printed:
            assert _run(workspace, *each).code != main.USAGE
