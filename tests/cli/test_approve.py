"""What `approve` says that an approval allows."""

import dataclasses
import re

import click
import pytest

from tests.journal import journal_factories
from tests.support import clocks, memory_journal
from worker.cli import approve
from worker.core.model.identifiers import RunId
from worker.core.model.plan import Change, HeldChange
from worker.core.model.source_history import ShrunkSource
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

LEAVER = journal_factories.change("bob", action="detach")
SENTINEL = journal_factories.change("eve", action="detach")
SHRUNK = ShrunkSource("hr", 50, 100, "source hr lost half")


def _held(change: Change, name: str = guard.PER_RUN) -> HeldChange:
    return HeldChange(change, name, "too many")


async def _finish(
    record: memory_journal.MemoryJournal, run: str, *held: HeldChange, shrunk: tuple[ShrunkSource, ...] = ()
) -> str:
    """Record a run that held these changes, and return their digest."""
    plan = dataclasses.replace(journal_factories.guarded(), held=held, shrunk=shrunk)
    at = journal_factories.minutes(len(await record.runs()))
    report = dataclasses.replace(journal_factories.ended(run=RunId(run), at=at), guarded=plan)
    await record.finish(report, trigger="once")
    return plan.held_digest


@pytest.fixture
async def record() -> memory_journal.MemoryJournal:
    return memory_journal.MemoryJournal(clock=clocks.Still())


@pytest.mark.parametrize(
    ("held", "shrunk", "said", "is_warning"),
    [
        ([_held(LEAVER)], (), "It allows the 1 change that run_1 held at 2026-12-01 12:00 UTC.", False),
        (
            [_held(LEAVER), _held(SENTINEL, guard.MUST_SEE)],
            (),
            "It allows the 1 change that run_1 held at 2026-12-01 12:00 UTC.",
            False,
        ),
        (
            [_held(LEAVER)],
            (SHRUNK,),
            "It allows the 1 change, and accepts 1 source that lost rows, that run_1 held at 2026-12-01 12:00 UTC.",
            False,
        ),
        (
            [],
            (SHRUNK,),
            "It accepts that 1 source lost rows, as run_1 found: its next detaches are not held for that.",
            False,
        ),
        (
            [_held(SENTINEL, guard.MUST_SEE)],
            (),
            f"It allows nothing: no approval lifts what run_1 held ({guard.MUST_SEE}).",
            True,
        ),
    ],
    ids=["changes", "some", "changes and source", "source", "nothing"],
)
async def test_it_says_what_of_a_run_it_allows(
    record: memory_journal.MemoryJournal,
    capsys: pytest.CaptureFixture[str],
    held: list[HeldChange],
    shrunk: tuple[ShrunkSource, ...],
    said: str,
    is_warning: bool,
) -> None:
    digest = await _finish(record, "run_1", *held, shrunk=shrunk)
    await _finish(record, "run_2")
    assert await approve._approve(record, digest=digest, by="Ada") == 0
    since, until, by = record._store.approvals[digest]
    assert (until - since, by) == (guard.APPROVAL_LIFETIME, "Ada")
    stdout, stderr = capsys.readouterr()
    assert re.match(r"Approved until \d{4}-\d\d-\d\d \d\d:\d\d UTC, once: ", stdout)
    assert stderr == (f"warning: {said}\n" if is_warning else "")
    assert stdout.endswith(f"{said}\n") is not is_warning


async def test_for_a_digest_that_nobody_held_the_newest_that_was_held_is_named(
    record: memory_journal.MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    await _finish(record, "run_1", _held(SENTINEL))
    newest = await _finish(record, "run_2", _held(LEAVER))
    await _finish(record, "run_3")
    await approve._approve(record, digest=f"sha256:{'0' * 64}", by="")
    assert f"The newest run with held changes is run_2; their digest is {newest}\n" in capsys.readouterr().err


async def test_the_digest_of_the_whole_plan_allows_nothing(
    record: memory_journal.MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    held = await _finish(record, "run_1", _held(LEAVER))
    await approve._approve(record, digest="sha256:plan", by="")
    assert capsys.readouterr().err == (
        "warning: It allows nothing: this is the digest of the whole plan. "
        f"To approve its held changes: fleet-sync approve {held}\n"
    )


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101])
async def test_a_name_that_does_not_fit_on_a_line_is_wrong_usage(name: str) -> None:
    with pytest.raises(click.BadParameter, match="write a name of 1 to 100 printable characters"):
        approve.Name().convert(name, None, None)


async def test_a_name_may_have_a_hundred_characters() -> None:
    assert approve.Name().convert(f" {'x' * 100} ", None, None) == "x" * 100
