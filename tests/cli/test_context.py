"""What commands have in common: finding a run by the beginning of its id, setting up the log, printing."""

import dataclasses
import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from tests.journal import journal_factories
from tests.support import clocks, memory_journal
from worker.cli import context
from worker.core.model.errors import FleetSyncError, UnknownRun
from worker.core.model.identifiers import RunId
from worker.core.model.ports import PastRun

pytestmark = pytest.mark.anyio


class _Large(memory_journal.MemoryJournal):
    """A journal with too many runs to read them all."""

    async def runs(
        self, *, limit: int | None = None, before: RunId | None = None, result: str | None = None
    ) -> tuple[PastRun, ...]:
        assert limit is not None
        return await super().runs(limit=limit, before=before, result=result)


@pytest.fixture
async def record() -> _Large:
    journal = _Large(clock=clocks.Still())
    for run in ("run_april", "run_august", "run_may", "run_maybe"):
        await journal_factories.whole(journal, run=run, at=journal_factories.NOON)
    return journal


@pytest.mark.parametrize(
    ("named", "found"),
    [("run_april", "run_april"), ("run_ap", "run_april"), ("run_may", "run_may"), ("run_mayb", "run_maybe")],
)
async def test_a_run_is_found_without_reading_all_of_them(record: _Large, named: str, found: str) -> None:
    """An id that begins another id is still found."""
    assert (await context.find_run(record, named)).run == found


@pytest.mark.parametrize(
    ("named", "said"),
    [("run_a", "several runs begin with 'run_a'"), ("run_june", "no run in the journal begins with 'run_june'")],
)
async def test_what_names_no_run_or_several_is_reported(record: _Large, named: str, said: str) -> None:
    with pytest.raises(UnknownRun, match=said):
        await context.find_run(record, named)


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (FleetSyncError("it broke", remedy="Mend it."), "error: it broke\n  Mend it.\n"),
        (FleetSyncError("it broke: mend it", remedy="Mend it."), "error: it broke: mend it\n"),
        (FleetSyncError("it\x1b broke"), "error: it\N{REPLACEMENT CHARACTER} broke\n"),
    ],
)
async def test_an_error_is_printed_with_its_remedy_unless_it_says_it_already(
    capsys: pytest.CaptureFixture[str], error: FleetSyncError, printed: str
) -> None:
    context.print_error(error)
    assert capsys.readouterr() == ("", printed)


class _Stderr(io.TextIOWrapper):
    """A stream that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    @property
    def lines(self) -> list[str]:
        """Return the lines that were logged."""
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode().splitlines()


@pytest.fixture
def no_logging() -> Iterator[None]:
    """Forget how the log was set up."""
    yield
    structlog.reset_defaults()


def _logged(stderr: _Stderr, called: context.CommandContext, *, service: bool = False, as_json: bool = False) -> None:
    """Set the log up for a call, and log a failed change, and that a run ended."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stderr", stderr)
        called.configure_logs(service=service, as_json=as_json)
        structlog.get_logger().warning("membership_attach")
        structlog.get_logger().info("run_finished")


_CALL = context.CommandContext("fleet-sync.toml", "auto", None)


@pytest.mark.usefixtures("no_logging")
@pytest.mark.parametrize(
    ("is_terminal", "level", "service", "as_json", "expected"),
    [
        (False, None, False, False, ["membership_attach", "run_finished"]),
        (True, None, False, False, []),
        (True, None, False, True, ["membership_attach"]),
        (True, None, True, False, ["membership_attach", "run_finished"]),
        (True, "info", False, False, ["membership_attach", "run_finished"]),
        (False, "warning", False, False, ["membership_attach"]),
    ],
    ids=["elsewhere", "terminal", "terminal and JSON", "service", "asked for", "fewer"],
)
async def test_on_a_terminal_only_that_is_logged_which_the_result_does_not_say(
    is_terminal: bool, level: str | None, service: bool, as_json: bool, expected: list[str]
) -> None:
    stderr = _Stderr(is_terminal=is_terminal)
    _logged(stderr, dataclasses.replace(_CALL, log_level=level), service=service, as_json=as_json)
    assert [name for line in stderr.lines for name in re.findall("membership_attach|run_finished", line)] == expected


@pytest.mark.usefixtures("no_logging")
@pytest.mark.parametrize(
    ("is_terminal", "color", "styled"),
    [(True, "auto", True), (True, "never", False), (False, "auto", False), (False, "always", True)],
)
async def test_lines_for_people_have_colors_on_a_terminal_or_where_they_are_asked_for(
    is_terminal: bool, color: Literal["auto", "always", "never"], styled: bool
) -> None:
    stderr = _Stderr(is_terminal=is_terminal)
    _logged(stderr, dataclasses.replace(_CALL, log_format="console", color=color), service=True)
    assert ["\x1b[" in line for line in stderr.lines] == [styled, styled]


async def test_a_document_has_no_character_that_could_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"name": "Zoë \u202e\x1b[2J\N{GRINNING FACE}"}
    context.print_document(document)
    printed = capsys.readouterr().out
    assert "Zoë \\u202e\\u001b[2J\N{GRINNING FACE}" in printed
    assert json.loads(printed) == document


@pytest.mark.parametrize("as_json", [False, True])
async def test_an_error_that_left_no_report_is_a_document_where_one_was_asked_for(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    def fail() -> int:
        raise UnknownRun("no such run")

    assert _CALL.report_errors(fail, as_json=as_json) == 1
    stdout, stderr = capsys.readouterr()
    if as_json:
        assert (json.loads(stdout)["error"]["message"], stderr) == ("no such run", "")
    else:
        assert (stdout, stderr.splitlines()[0]) == ("", "error: no such run")
