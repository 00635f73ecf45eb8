"""When a changed source is reported: on virtual time, with sources that change as the test says."""

from collections.abc import Callable, Sequence

import anyio
import pytest

from tests.support import doubles
from worker.core.model.errors import SourceError
from worker.core.model.problem import Problem
from worker.service import source_polling

pytestmark = pytest.mark.anyio


class Changing(doubles.Source):
    """Implements ports.Source: its revision is a function of the seconds since it was created."""

    def __init__(self, revision: Callable[[float], str | None], *, poll_seconds: float = 2.0) -> None:
        super().__init__({})
        self.poll_seconds = poll_seconds
        self.looks = 0
        self._revision = revision
        self._began = anyio.current_time()

    async def peek(self) -> str | None:
        self.looks += 1
        revision = self._revision(anyio.current_time() - self._began)
        if revision in ("gone", "source_changed"):
            raise SourceError([Problem("a.yaml", "file not found")], code=revision)
        return revision


async def _changes(sources: Callable[[], Sequence[Changing]], *, seconds: float) -> list[float]:
    """Poll for so long; return when changes were reported."""
    began, reported = anyio.current_time(), list[float]()
    with anyio.move_on_after(seconds):
        await source_polling.poll(sources, changed=lambda: reported.append(anyio.current_time() - began))
    return reported


def _since(moment: float, before: str | None, after: str | None) -> Callable[[float], str | None]:
    return lambda seconds: before if seconds < moment else after


async def test_a_change_is_reported_once_within_three_seconds() -> None:
    source = Changing(_since(9, "1", "2"))
    (reported,) = await _changes(lambda: [source], seconds=60)
    assert 9 < reported < 12


async def test_each_of_several_sources_counts() -> None:
    one, other = Changing(_since(9, "1", "2")), Changing(_since(29, "1", "2"))
    first, second = await _changes(lambda: [one, other], seconds=60)
    assert 9 < first < 12 and 29 < second < 32


async def test_a_source_that_disappears_and_returns_is_reported_twice() -> None:
    source = Changing(lambda seconds: "gone" if 9 < seconds < 29 else "1")
    gone, back = await _changes(lambda: [source], seconds=60)
    assert 9 < gone < 12 and 29 < back < 32


async def test_a_source_that_was_never_there_is_reported_when_it_appears() -> None:
    source = Changing(_since(9, "gone", "1"))
    (reported,) = await _changes(lambda: [source], seconds=60)
    assert 9 < reported < 12


async def test_a_document_that_is_being_written_is_reported_when_it_is_done() -> None:
    source = Changing(lambda seconds: str(min(max(seconds, 9), 12)))
    (reported,) = await _changes(lambda: [source], seconds=60)
    assert 12 < reported < 14


async def test_a_source_that_never_stops_changing_is_reported_all_the_same() -> None:
    source = Changing(str)
    reported = await _changes(lambda: [source], seconds=60)
    assert len(reported) >= 8


async def test_a_source_without_a_cheap_revision_never_changes_here() -> None:
    source = Changing(lambda seconds: None)
    assert await _changes(lambda: [source], seconds=60) == []


async def test_other_sources_after_a_reload_are_a_change() -> None:
    """They may have changed between the first reading and the first look."""
    one, other = Changing(lambda seconds: "1"), Changing(lambda seconds: "1")
    began = anyio.current_time()
    sources = lambda: [one] if anyio.current_time() - began < 9 else [other]  # noqa: E731
    (reported,) = await _changes(sources, seconds=60)
    assert 9 < reported < 12


async def test_the_first_look_is_taken_before_polling_counts_as_started() -> None:
    """A change between the first look and the first reading is reported; a later first look would miss it."""
    source, reported = Changing(_since(0.001, "1", "2")), list[float]()
    async with anyio.create_task_group() as tasks:

        async def start(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            await source_polling.poll(lambda: [source], changed=lambda: reported.append(0), task_status=task_status)

        await tasks.start(start)
        await anyio.sleep(10)
        tasks.cancel_scope.cancel()
    assert len(reported) == 1


async def test_each_source_is_polled_at_its_own_interval() -> None:
    quick, slow = Changing(lambda seconds: "1"), Changing(_since(1, "1", "2"), poll_seconds=30)
    (reported,) = await _changes(lambda: [quick, slow], seconds=59)
    assert 30 < reported < 32
    assert (quick.looks, slow.looks) == (30, 3)


async def test_a_source_that_is_being_written_has_not_changed_yet() -> None:
    """A run would only fail; the change is reported when the source can be read."""
    source = Changing(lambda seconds: "1" if seconds < 9 else "source_changed" if seconds < 29 else "2")
    (reported,) = await _changes(lambda: [source], seconds=60)
    assert 29 < reported < 32


async def test_a_look_that_takes_long_delays_no_other_source() -> None:
    class Slow(Changing):
        async def peek(self) -> str | None:
            await anyio.sleep(20)
            return "1"

    slow, quick = Slow(lambda seconds: "1"), Changing(_since(29, "1", "2"))
    (reported,) = await _changes(lambda: [slow, quick], seconds=60)
    assert 29 < reported < 32
