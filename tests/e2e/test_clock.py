"""The real command on a machine whose clock is wrong: `faketime` (a Debian package) sets it for one process."""

import dataclasses
import datetime
import os
import shutil
import signal
import subprocess

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import quirks, state

pytestmark = pytest.mark.real

AHEAD = ["+2d", "+60d", "+10y"]
BEHIND = "-1d"
SILENT = dataclasses.replace(quirks.PLAUSIBLE, date_header=False)
ALWAYS = "from: 2001-01-01\n      until: 2090-01-01"


def _clock(offset: str) -> dict[str, str]:
    """Return the environment of a process whose clock is off by this."""
    program = shutil.which("faketime")
    if program is None:
        if os.environ.get("FLEET_SYNC_TEST_TOOLS") == "required":
            pytest.fail("faketime is not installed")
        pytest.skip("faketime is not installed")
    call = [program, "-m", "--exclude-monotonic", "-f", offset, "/usr/bin/env"]
    lines = subprocess.run(call, capture_output=True, text=True, check=True, env={}).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


class Moving:
    """A workspace in which one driver joins, another joins by a row with dates, and a third leaves."""

    def __init__(self, workspace: conftest.Workspace) -> None:
        """Write the document."""
        self.workspace = workspace
        members = workspace.members()
        self.fleet = next(fleet for fleet in members if len(members[fleet]) > 8)
        free = [driver for driver in workspace.people.drivers if driver not in members[self.fleet]]
        self.joining, self.dated = free[:2]
        self.leaving = members[self.fleet][0]
        kept = [*members[self.fleet][1:], self.joining]
        rows = "".join(f"    - {driver}\n" for driver in kept)
        rows += f"    - driver: {self.dated}\n      {ALWAYS}\n"
        others = "".join(
            f"  {fleet}:\n" + "".join(f"    - {driver}\n" for driver in drivers)
            for fleet, drivers in members.items()
            if fleet != self.fleet and drivers
        )
        workspace.write(f"fleets:\n  {self.fleet}:\n{rows}{others}")

    @property
    def undated(self) -> list[tuple[str, str, str]]:
        """Return the only change that does not rest on the time."""
        return [("attach", self.joining, self.fleet)]

    @property
    def everything(self) -> set[tuple[str, str, str]]:
        """Return all changes."""
        rest = {("attach", self.dated, self.fleet), ("detach", self.leaving, self.fleet)}
        return {*self.undated, *rest}


def _codes(plan: dict[str, list[dict[str, str]]]) -> set[str]:
    """Return the codes of the problems, without that of the note of every first run."""
    return {problem["code"] for problem in plan["problems"] if problem["code"]} - {"journal_new"}


@pytest.mark.parametrize("offset", [*AHEAD, BEHIND])
def test_by_a_wrong_clock_only_attaches_without_dates_are_made(workspace: conftest.Workspace, offset: str) -> None:
    moving, clock = Moving(workspace), _clock(offset)
    plan = workspace.run("plan", "--json", **clock)
    assert (plan.code, _codes(plan.document)) == (4, {"clock_not_trusted"})
    assert [change["driver"] for change in plan.document["changes"]] == [moving.joining]
    shown = workspace.run("plan", **clock)
    assert "clock" in shown.stdout and "NTP" in shown.stdout
    once = workspace.run("once", "--json", **clock)
    assert (once.code, once.document["result"], _codes(once.document["plan"])) == (4, "partial", {"clock_not_trusted"})
    assert workspace.changed() == moving.undated
    right = workspace.run("once", "--json")
    assert (right.code, right.document["result"], set(workspace.changed())) == (0, "converged", moving.everything)


@pytest.mark.parametrize("offset", ["+4m", "-4m"])
def test_within_five_minutes_nothing_is_said(workspace: conftest.Workspace, offset: str) -> None:
    moving = Moving(workspace)
    once = workspace.run("once", "--json", **_clock(offset))
    assert (once.code, set(workspace.changed())) == (0, moving.everything)


def test_without_a_date_a_clock_that_was_set_back_is_noticed_by_the_journal(open_workspace: conftest.Open) -> None:
    workspace = open_workspace(state.SandboxState.populate(drivers=40, fleets=3, seed=1), behaves=SILENT)
    assert workspace.run("once").code == 0
    moving = Moving(workspace)
    once = workspace.run("once", "--json", **_clock(BEHIND))
    assert (once.code, _codes(once.document["plan"])) == (4, {"clock_not_trusted"})
    assert workspace.changed() == moving.undated
    assert workspace.run("once").code == 0
    assert set(workspace.changed()) == moving.everything


def test_ten_years_ahead_the_journal_is_not_pruned(workspace: conftest.Workspace) -> None:
    assert workspace.run("once").code == 0
    assert workspace.run("once", **_clock("+10y")).code == 4
    assert len(workspace.folder.journal("select run from runs")) == 2


def test_sixty_days_ahead_no_one_is_detached_because_of_an_until(workspace: conftest.Workspace) -> None:
    members = workspace.members()
    fleet = next(iter(members))
    end = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)).date()
    rows = "".join(f"    - driver: {driver}\n      until: {end}\n" for driver in members[fleet])
    workspace.write(f"fleets:\n  {fleet}:\n{rows}")
    assert workspace.run("once", **_clock("+60d")).code == 4
    assert workspace.changed() == []
    assert workspace.run("once").code == 0


def test_a_saved_plan_and_an_approval_wait_for_the_right_time(workspace: conftest.Workspace) -> None:
    moving, clock = Moving(workspace), _clock("+10m")
    assert workspace.run("plan", "--out", "saved.json").code == 0
    applied = workspace.run("apply", "saved.json", "--json", **clock)
    assert (applied.code, _codes(applied.document)) == (4, {"clock_not_trusted"})
    assert workspace.changed() == moving.undated
    fleet = moving.fleet
    workspace.write({**workspace.members(), fleet: workspace.members()[fleet][:1]})
    held = workspace.run("once", "--json")
    assert held.code == 3
    digest = held.document["plan"]["held_digest"]
    before = workspace.changed()
    assert workspace.run("once", "--approve", digest, **clock).code == 4
    assert workspace.run("approve", digest).code == 0
    assert workspace.run("once", **clock).code == 4
    assert workspace.changed() == before
    assert workspace.run("once").code == 0
    assert len(workspace.changed()) > len(before)


def test_the_service_says_so_once_and_until_the_clock_is_right(workspace: conftest.Workspace) -> None:
    moving = Moving(workspace)
    settings = {"FLEET_SYNC_STATUS__LISTEN": "127.0.0.1:0"}
    with workspace.folder.started("run", **settings, **_clock("+60d")) as service:
        command.until(lambda: bool(workspace.changed()), what="a write")
        partial = "select 1 from runs where result = 'partial'"
        command.until(lambda: bool(workspace.folder.journal(partial)), what="the end of the run")
        service.signal(signal.SIGTERM)
        ended = service.end()
    assert ended.code == 143
    [problem] = [event for event in ended.events if event["event"] == "problem" and event["level"] == "warning"]
    assert (problem["where"], problem["code"]) == ("clock", "clock_not_trusted")
    assert problem["remedy"]
    assert workspace.changed() == moving.undated
