"""All sources are read as they were at one moment: a row that moves from one to another is not missed meanwhile."""

import pytest

from tests.support import clocks, doubles
from tests.support.harness import VANS, A, B
from worker.core.model.desired import SourceReading
from worker.core.model.errors import SourceError
from worker.engine import source_watch

pytestmark = pytest.mark.anyio


class Folder:
    """Two documents. The row of A moves from the second to the first each time that the first was read."""

    def __init__(self, *, moves: int) -> None:
        self.moves = moves
        self.moved = 0


class Part:
    """Implements ports.Source for one of them."""

    poll_seconds = 2.0

    def __init__(self, folder: Folder, *, first: bool) -> None:
        self._folder = folder
        self._first = first

    async def read(self) -> SourceReading:
        a_is_first = self._folder.moved % 2 == 1
        reading = await doubles.Source({VANS: [A, B] if a_is_first is self._first else [B]}).read()
        if self._first and self._folder.moved < self._folder.moves:
            self._folder.moved += 1
        return reading

    async def peek(self) -> str | None:
        return f"{self._folder.moved}"


def _watch(folder: Folder) -> source_watch.SourceWatch:
    parts = [Part(folder, first=True), Part(folder, first=False)]
    return source_watch.SourceWatch(parts, clock=clocks.Wall())


async def test_a_row_that_moves_to_another_source_while_they_are_read_is_not_missed() -> None:
    """Found by a simulated world: read before and after the move, neither document had the row."""
    desired = await _watch(Folder(moves=1)).read()
    assert str(A) in {str(getattr(row.driver, "id", "")) for row in desired.rows}


async def test_sources_that_never_stay_the_same_while_they_are_read_are_an_error() -> None:
    with pytest.raises(SourceError, match="changes while all are read") as error:
        await _watch(Folder(moves=1000)).read()
    assert error.value.code == "source_changed"
