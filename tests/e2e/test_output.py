"""Where output goes, and what happens if it cannot be written."""

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.e2e import conftest
from tests.support import command


@contextlib.contextmanager
def _nobody_reads() -> Iterator[int]:
    """Return the writing end of a pipe whose reader is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@contextlib.contextmanager
def _full() -> Iterator[int]:
    """Return a file on a full disk."""
    with pathlib.Path("/dev/full").open("wb") as file:
        yield file.fileno()


def _ask_for_a_newcomer(workspace: conftest.Workspace) -> None:
    fleet, *_ = members = workspace.members()
    newcomer = next(driver for driver in workspace.people.drivers if driver not in members[fleet])
    workspace.write({fleet: [*members[fleet], newcomer]})


@pytest.mark.parametrize("arguments", [["plan"], ["--help"]])
def test_a_reader_who_leaves_is_no_reason_to_complain(workspace: conftest.Workspace, arguments: list[str]) -> None:
    with _nobody_reads() as pipe:
        ended = command.start(*arguments, environ=workspace.folder.environ, stdout=pipe).end()
    assert (ended.code, ended.stderr) == (1, "")


def test_a_full_disk_is_said_in_a_line(workspace: conftest.Workspace) -> None:
    with _full() as disk:
        ended = command.start("once", "--json", environ=workspace.folder.environ, stdout=disk).end()
    assert ended.code == 1
    assert ended.stderr == "error: the output could not be written: No space left on device\n"


@pytest.mark.parametrize(("lost", "why"), [(_full, "No space left on device"), (_nobody_reads, "Broken pipe")])
def test_a_plan_that_cannot_be_shown_is_not_made_and_that_is_said(
    workspace: conftest.Workspace, lost: Callable[[], contextlib.AbstractContextManager[int]], why: str
) -> None:
    """This also holds for a closed pipe: a job that does nothing must not be silent about it."""
    _ask_for_a_newcomer(workspace)
    with lost() as output:
        ended = command.start("once", environ=workspace.folder.environ, stdout=output).end()
    assert (ended.code, ended.stderr) == (1, f"error: the output could not be written: {why}; nothing was changed\n")
    assert workspace.posts() == []
    assert workspace.folder.journal("select * from intents") == []


def test_a_log_that_cannot_be_written_stops_no_run_halfway(workspace: conftest.Workspace) -> None:
    _ask_for_a_newcomer(workspace)
    with _full() as disk:
        ended = command.start("once", "--json", environ=workspace.folder.environ, stderr=disk).end()
    assert (ended.code, ended.document["result"]) == (0, "converged")
    assert workspace.folder.journal("select outcome from intents") == [("applied",)]


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
def test_closed_streams_do_no_harm(workspace: conftest.Workspace, closed: str) -> None:
    """Some schedulers start jobs like this; a journal opened as file descriptor 2 would receive log lines."""
    _ask_for_a_newcomer(workspace)
    done = subprocess.run(  # a shell, because only a shell can close a stream
        ["/bin/sh", "-c", f'exec "$0" once {closed}', command.PROGRAM],
        env=command.environment(workspace.folder.environ),
        check=False,
        capture_output=True,
        timeout=command.LONGEST,
    )
    assert done.returncode == 0
    assert len(workspace.changed()) == 1
    assert workspace.folder.journal("pragma integrity_check") == [("ok",)]


def test_a_plan_is_shown_although_stdin_is_closed(workspace: conftest.Workspace) -> None:
    """Whether it is a terminal decides about the pager."""
    done = subprocess.run(  # a shell, because only a shell can close a stream
        ["/bin/sh", "-c", 'exec "$0" plan <&-', command.PROGRAM],
        env=command.environment(workspace.folder.environ),
        check=False,
        capture_output=True,
        timeout=command.LONGEST,
    )
    assert (done.returncode, b"In sync" in done.stdout) == (0, True)


def test_documents_are_utf_8_whatever_the_locale_says(workspace: conftest.Workspace) -> None:
    """A document in Latin-1 would be refused on import."""
    workspace.people.add_driver(name="Zoë Wójcik ☂", fleets=list(workspace.people.fleets)[:1])
    workspace.write(workspace.members())
    ended = workspace.run("export", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert ended.code == 0
    assert "Zoë Wójcik ☂" in ended.stdout


def test_every_error_with_json_leaves_stderr_to_the_log(workspace: conftest.Workspace) -> None:
    """A program that reads stdout finds exactly one document, and stderr has only log lines."""
    workspace.write("fleets: [\n")
    for ended in workspace.together(["plan", "--json"], ["once", "--json"]):
        assert ended.code == 1
        assert ended.document["error"]["code"] == "source_invalid"
        assert ended.events == []


def test_log_lines_are_json_or_for_the_console(workspace: conftest.Workspace) -> None:
    _ask_for_a_newcomer(workspace)
    ended = workspace.run("--log-format", "console", "once")
    assert "membership_attach" in ended.stderr
    assert "\x1b" not in ended.stderr and "{" not in ended.stderr
    quiet = workspace.run("--log-level", "warning", "once")
    assert quiet.stderr == ""
