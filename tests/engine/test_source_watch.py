"""All sources are read as they were at one moment, and what they no longer want during a run is not sent."""

import dataclasses
import datetime
from typing import Any

import anyio
import pytest

from tests.support import clocks, doubles, harness
from tests.support.harness import DEPOT, VANS, A, B
from worker.core.model.desired import SourceReading
from worker.core.model.errors import SourceError
from worker.core.model.identifiers import DriverId
from worker.core.model.outcomes import Deferred
from worker.engine import source_watch
from worker.sandbox import quirks

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


class Edited:
    """A source that says something else from a certain moment on."""

    poll_seconds = 2.0

    def __init__(self, before: harness.Wanted, after: harness.Wanted, *, at: float) -> None:
        self._before, self._after, self._at = doubles.Source(before), doubles.Source(after), at
        self._started = anyio.current_time()

    @property
    def _edited(self) -> bool:
        return anyio.current_time() - self._started >= self._at

    async def read(self) -> SourceReading:
        return await (self._after if self._edited else self._before).read()

    async def peek(self) -> str | None:
        return "after" if self._edited else "before"


async def test_a_source_that_is_corrected_during_a_run_stops_what_is_left_of_it() -> None:
    """Story: the document was corrected after the first of 100 detaches; 99 more were made."""
    drivers = [DriverId(f"drv_{number:032d}") for number in range(100)]
    held = harness.state_of({VANS: drivers})
    account_harness = harness.Harness(held, requests_per_second=10, burst=1)
    source = Edited({VANS: []}, {VANS: drivers}, at=2.0)
    finished = await account_harness.new_reconciler(source).reconcile(trigger="test")
    made = sum(effect.changed for effect in held.effects)
    assert made <= 10 * (2 + 2)
    assert finished.exit_code == 4
    codes = {result.outcome.code for result in finished.results if isinstance(result.outcome, Deferred)}
    assert codes == {"superseded"}
    assert finished.counts["deferred"] == 100 - made


@pytest.mark.parametrize("slow", [{"requests_per_second": 1, "burst": 1}, {"quirks": quirks.Quirks(latency_seconds=1)}])
async def test_a_source_that_is_corrected_while_charge_is_read_lets_no_change_out(slow: dict[str, Any]) -> None:
    """Whether the first write waits for its turn or may be sent at once."""
    drivers = [DriverId(f"drv_{number:032d}") for number in range(100)]
    held = harness.state_of({VANS: drivers})
    account_harness = harness.Harness(held, **slow)
    source = Edited({VANS: []}, {VANS: drivers}, at=0.5)
    finished = await account_harness.new_reconciler(source).reconcile(trigger="test")
    assert (account_harness.writes, finished.exit_code, finished.counts["deferred"]) == ([], 4, 100)


class Dated(doubles.Source):
    """A source whose rows begin or end at a moment."""

    def __init__(self, wanted: harness.Wanted, **period: Any) -> None:
        super().__init__(wanted)
        self._period = period

    async def read(self) -> SourceReading:
        reading = await super().read()
        return dataclasses.replace(
            reading, rows=tuple(dataclasses.replace(row, **self._period) for row in reading.rows)
        )


@pytest.mark.parametrize("period", ["starts", "ends"])
async def test_a_row_that_begins_or_ends_during_the_run_stops_the_changes_of_its_driver(period: str) -> None:
    """A job before midnight would detach whom the sources want after it, and attach whom they no longer want."""
    dated, always = ([DriverId(f"drv_{kind}{number:031d}") for number in range(30)] for kind in "01")
    held = harness.state_of({VANS: dated if period == "starts" else [], DEPOT: []}, others=[*dated, *always])
    account = harness.Harness(held, requests_per_second=10, burst=1)
    midnight = account.wall.now() + datetime.timedelta(seconds=2)
    source = Dated({VANS: dated, DEPOT: []}, **{period: midnight})
    finished = await account.new_reconciler(source, doubles.Source({DEPOT: always})).reconcile(trigger="test")
    withheld = {each.change for each in finished.results if isinstance(each.outcome, Deferred)}
    assert {each.driver for each in withheld} < {*dated} and len(withheld) >= 10
    assert all(account.fleets_of(driver) == {DEPOT} for driver in always)
    assert {each.outcome.code for each in finished.results if isinstance(each.outcome, Deferred)} == {"superseded"}
    assert finished.exit_code == 4


async def test_a_source_that_says_the_same_in_another_revision_stops_nothing() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(40)]
    held = harness.state_of({VANS: drivers, DEPOT: drivers})
    account_harness = harness.Harness(held, requests_per_second=10, burst=1)
    source = Edited({VANS: [], DEPOT: drivers}, {DEPOT: drivers, VANS: []}, at=2.0)
    assert (await account_harness.new_reconciler(source).reconcile(trigger="test")).exit_code == 0


async def test_a_source_without_a_cheap_revision_is_read_again_every_poll_seconds() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(100)]
    held = harness.state_of({VANS: drivers})
    account_harness = harness.Harness(held, requests_per_second=10, burst=1)

    class Unpeekable(Edited):
        poll_seconds = 5.0
        reads = 0

        async def read(self) -> SourceReading:
            self.reads += 1
            return await super().read()

        async def peek(self) -> str | None:
            return None

    source = Unpeekable({VANS: []}, {VANS: drivers}, at=9.0)
    finished = await account_harness.new_reconciler(source).reconcile(trigger="test")
    codes = {result.outcome.code for result in finished.results if isinstance(result.outcome, Deferred)}
    assert codes == {"superseded"}
    assert source.reads == 3  # at the start, after 5 and after 10 seconds


async def test_a_source_that_can_no_longer_be_read_defers_the_detaches() -> None:
    drivers = [DriverId(f"drv_{number:032d}") for number in range(100)]
    held = harness.state_of({VANS: drivers})
    account_harness = harness.Harness(held, requests_per_second=10, burst=1)

    class Broken(Edited):
        async def peek(self) -> str | None:
            return await (doubles.BrokenSource() if self._edited else self._before).peek()

    finished = await account_harness.new_reconciler(Broken({VANS: []}, {}, at=2.0)).reconcile(trigger="test")
    codes = {result.outcome.code for result in finished.results if isinstance(result.outcome, Deferred)}
    assert codes == {"source_invalid"}
    assert finished.exit_code == 4
