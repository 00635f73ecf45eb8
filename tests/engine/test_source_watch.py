"""All sources are read as they were at one moment, and what they no longer want during a run is not sent."""

import dataclasses
import datetime
from typing import Any

import anyio
import pytest

from tests.support import clocks, doubles, harness
from tests.support.harness import DEPOT, VANS, A, B
from worker.core.model.desired import SourceReading
from worker.core.model.errors import ChangeWithheld, SourceError
from worker.core.model.identifiers import DriverId
from worker.core.model.outcomes import Deferred
from worker.core.model.plan import Action, Change
from worker.core.model.source_history import SourceRecord
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


@pytest.mark.integration
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


# --- One poll after the other ------------------------------------------------------------------------------

ATTACH, DETACH = Change(Action.ATTACH, A, VANS), Change(Action.DETACH, B, VANS)


class Polled:
    """A source whose revision, rows and failures a test sets."""

    poll_seconds = 5.0

    def __init__(self, *, revision: str | None = "1") -> None:
        self.wanted: harness.Wanted = {VANS: [A]}
        self.revision = revision
        self.fails = False
        self.peeks = self.reads = 0

    async def read(self) -> SourceReading:
        self.reads += 1
        return await doubles.Source(self.wanted).read()

    async def peek(self) -> str | None:
        self.peeks += 1
        if self.fails:
            return await doubles.BrokenSource().peek()
        return self.revision


def _withheld(watch: source_watch.SourceWatch) -> list[str]:
    """Return the codes with which an attach and a detach are withheld; empty for one that may be sent."""
    codes = []
    for change in (ATTACH, DETACH):
        try:
            watch.check(change)
        except ChangeWithheld as error:
            codes.append(error.code)
        else:
            codes.append("")
    return codes


async def _polled(*sources: Polled) -> source_watch.SourceWatch:
    watch = source_watch.SourceWatch(sources, clock=clocks.Wall())
    await watch.read()
    return watch


async def test_only_the_second_failure_in_a_row_withholds_detaches_until_the_source_can_be_read_again() -> None:
    source = Polled()
    watch = await _polled(source)
    found = []
    for fails in (True, False, True, True, False):
        source.fails = fails
        await watch.poll()
        found.append(_withheld(watch))
    assert found == [["", ""], ["", ""], ["", ""], ["", "source_invalid"], ["", ""]]


async def test_a_new_revision_that_says_the_same_is_read_once_and_ends_the_failures() -> None:
    source = Polled()
    watch = await _polled(source)
    source.fails = True
    for _ in range(2):
        await watch.poll()
    source.fails, source.revision = False, "2"
    for _ in range(2):
        await watch.poll()
    assert (source.reads, _withheld(watch)) == (2, ["", ""])


async def test_a_source_that_says_something_else_withholds_everything_and_is_polled_no_more() -> None:
    source = Polled()
    watch = await _polled(source)
    source.wanted, source.revision = {VANS: [A, B]}, "2"
    with anyio.fail_after(1.5):
        await watch.run_forever()
    assert (source.reads, _withheld(watch)) == (2, ["superseded", "superseded"])


async def test_without_sources_there_is_nothing_to_poll() -> None:
    watch = await _polled()
    began = anyio.current_time()
    await watch.run_forever()
    assert anyio.current_time() == began


async def test_a_single_source_is_asked_for_its_revision_once_before_it_is_read_and_several_twice() -> None:
    alone, first, second = Polled(), Polled(), Polled()
    await _polled(alone)
    await _polled(first, second)
    assert [each.peeks for each in (alone, first, second)] == [1, 2, 2]
    assert [each.reads for each in (alone, first, second)] == [1, 1, 1]


@pytest.mark.parametrize(("seconds", "reads"), [(4.9, 1), (5.0, 2)])
async def test_a_source_without_a_revision_is_read_again_only_after_its_poll_seconds(
    seconds: float, reads: int
) -> None:
    source = Polled(revision=None)
    watch = await _polled(source)
    await anyio.sleep(seconds)
    await watch.poll()
    assert (source.reads, _withheld(watch)) == (reads, ["", ""])


async def test_a_slow_check_is_followed_by_a_rest_of_ten_times_as_long() -> None:
    class Slow(Polled):
        async def peek(self) -> str | None:
            await anyio.sleep(0.5)
            return await super().peek()

    source = Slow()
    watch = await _polled(source)
    with anyio.move_on_after(14):
        await watch.run_forever()
    assert source.peeks == 1 + 3, "in the beginning, after 1 s, and after 5 s of rest each"


async def test_the_boundary_of_a_row_withholds_its_drivers_changes_from_that_moment_on() -> None:
    watch = await _polled(Polled())
    clock = clocks.Wall()
    watch.boundaries = {A: clock.now() + datetime.timedelta(seconds=2)}
    before = _withheld(watch)
    await anyio.sleep(2)
    assert (before, _withheld(watch)) == (["", ""], ["superseded", ""])


# --- Versions ----------------------------------------------------------------------------------------------


class Branch(doubles.Source):
    """A source with a history: version `2` descends from `1`, and `3` from nothing."""

    asked = 0

    async def descends(self, version: str, *, before: str) -> bool:
        self.asked += 1
        return (version, before) == ("2", "1")


@pytest.mark.parametrize(
    ("before", "version", "rewritten", "asked"),
    [("1", "2", "", 1), ("1", "3", "1", 1), ("3", "3", "", 0), ("", "3", "", 0), ("1", "", "", 0), (None, "3", "", 0)],
)
async def test_a_version_that_does_not_descend_from_that_of_an_earlier_run_marks_its_source(
    before: str | None, version: str, rewritten: str, asked: int
) -> None:
    source = Branch({VANS: [A]})
    watch = source_watch.SourceWatch([source], clock=clocks.Wall())
    desired = await watch.read()
    (revision,) = desired.sources
    read = dataclasses.replace(desired, sources=(dataclasses.replace(revision, version=version),))
    records = {} if before is None else {revision.name: SourceRecord((), version=before)}
    (compared,) = (await watch.compare_versions(read, records)).sources
    assert (compared.rewritten, compared.version, source.asked) == (rewritten, version, asked)


async def test_a_source_without_a_history_is_never_marked() -> None:
    watch = source_watch.SourceWatch([doubles.Source({VANS: [A]})], clock=clocks.Wall())
    desired = await watch.read()
    (revision,) = desired.sources
    read = dataclasses.replace(desired, sources=(dataclasses.replace(revision, version="2"),))
    records = {revision.name: SourceRecord((), version="1")}
    assert await watch.compare_versions(read, records) == read
