"""Finding a run by its id or the beginning of its id."""

import pytest

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
