"""`once --metrics-file`: what a job tells Prometheus through the textfile collector."""

import os
import pathlib
import re

import pytest
from prometheus_client import parser

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import faults

Samples = dict[tuple[str, str], float]


def _samples(path: pathlib.Path) -> Samples:
    """Return the value of each series, by its name and the values of its labels."""
    found: Samples = {}
    for family in parser.text_string_to_metric_families(path.read_text()):
        assert family.type == "gauge", "a counter would begin at 0 in every run"
        for sample in family.samples:
            assert sample.timestamp is None
            found[sample.name, "/".join(sample.labels.values())] = sample.value
    return found


def test_the_file_has_the_gauges_of_the_run(workspace: conftest.Workspace) -> None:
    fleet, *_ = members = workspace.members()
    workspace.write({**members, fleet: members[fleet][1:]})
    path = workspace.folder.path / "fleet-sync.prom"
    path.write_text("old")
    ended = workspace.run("once", "--metrics-file", "fleet-sync.prom")
    assert (ended.code, path.stat().st_mode & 0o777) == (0, 0o644)
    samples = _samples(path)
    assert samples["fleet_sync_last_run_exit_code", ""] == 0
    assert samples["fleet_sync_last_run_changes", "applied"] == 1
    assert samples["fleet_sync_last_run_changes", "refused"] == 0
    assert samples["fleet_sync_fleets", ""] == 4
    assert (
        samples["fleet_sync_last_run_timestamp_seconds", ""] == samples["fleet_sync_last_success_timestamp_seconds", ""]
    )
    assert not [each for each in workspace.folder.path.iterdir() if each.name.startswith(".fleet-sync")]


def test_what_a_run_of_one_fleet_leaves_out_is_not_in_sync(workspace: conftest.Workspace) -> None:
    fleet, other, *_ = members = workspace.members()
    workspace.write({**members, other: members[other][1:]})
    assert workspace.run("once", "--fleet", fleet, "--metrics-file", "fleet-sync.prom").code == 0
    samples = _samples(workspace.folder.path / "fleet-sync.prom")
    states = {state: samples["fleet_sync_memberships", f"{other}/{state}"] for state in ("in_sync", "drifted")}
    assert states == {"in_sync": len(members[other]) - 1, "drifted": 1}


def test_the_file_is_written_although_the_report_cannot_be(workspace: conftest.Workspace) -> None:
    """No alert may rely on the result of an earlier run."""
    fleet, *_ = members = workspace.members()
    workspace.write({**members, fleet: members[fleet][1:]})
    path = workspace.folder.path / "fleet-sync.prom"
    arguments = ("once", "--json", "--metrics-file", str(path))
    with pathlib.Path("/dev/full").open("wb") as full:
        running = command.start(
            *arguments, environ=workspace.folder.environ, cwd=workspace.folder.path, stdout=full.fileno()
        )
        ended = running.end()
    assert (ended.code, len(workspace.changed())) == (1, 1)
    assert "the output could not be written" in ended.stderr
    assert _samples(path)["fleet_sync_last_run_changes", "applied"] == 1


def test_a_run_that_fails_keeps_the_time_of_the_last_success_and_says_what_is_broken(
    workspace: conftest.Workspace,
) -> None:
    path = workspace.folder.path / "fleet-sync.prom"
    workspace.run("once", "--metrics-file", str(path))
    before = _samples(path)
    workspace.charge.faults = faults.Faults({"503": 1.0})
    assert workspace.run("once", "--metrics-file", str(path), FLEET_SYNC_RETRY__MAX_ATTEMPTS="1").code == 1
    after = _samples(path)
    success = "fleet_sync_last_success_timestamp_seconds", ""
    assert after[success] == pytest.approx(before[success], abs=0.01) and before[success] > 0
    assert after["fleet_sync_last_run_timestamp_seconds", ""] > before[success]
    assert after["fleet_sync_last_run_exit_code", ""] == 1
    assert (after["fleet_sync_broken", "charge"], after["fleet_sync_broken", "source"]) == (1, 0)


def test_a_file_that_cannot_be_written_is_an_error_after_the_run(workspace: conftest.Workspace) -> None:
    ended = workspace.run("once", "--metrics-file", "no/such/folder/fleet-sync.prom")
    assert (ended.code, ended.stdout) == (64, "")
    assert workspace.charge.requests == []
    ended = workspace.run("once", "--metrics-file", "/proc/fleet-sync.prom")
    assert ended.code == 1
    assert re.search(r"error: /proc/fleet-sync\.prom cannot be written: ", ended.stderr)
    assert ended.stdout.startswith("In sync: ")


def test_a_device_or_pipe_is_not_replaced_by_a_file(workspace: conftest.Workspace) -> None:
    """Run by root with /dev/null or /dev/stdout, that would be the end of these for the whole machine."""
    path = workspace.folder.path / "pipe"
    os.mkfifo(path)
    ended = workspace.run("once", "--metrics-file", "pipe")
    assert (ended.code, "pipe is not a regular file" in ended.stderr) == (64, True)
    assert path.is_fifo()


def test_a_link_still_leads_to_the_file(workspace: conftest.Workspace) -> None:
    file, link = workspace.folder.path / "real.prom", workspace.folder.path / "link.prom"
    file.write_text("old")
    link.symlink_to(file)
    assert workspace.run("once", "--metrics-file", "link.prom").code == 0
    assert link.is_symlink() and file.read_text() != "old"
