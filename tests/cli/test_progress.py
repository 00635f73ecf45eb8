"""Progress: a bar if stderr is a terminal (`tests/e2e/test_terminal`), otherwise a line every few seconds."""

import time

import pytest
import structlog.testing

from worker.cli import progress
from worker.core.model.ports import Stage


class _Clock:
    """A monotonic clock that tests advance by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    standing = _Clock()
    monkeypatch.setattr(time, "monotonic", standing)
    return standing


def test_a_quick_run_shows_no_progress(clock: _Clock) -> None:
    with structlog.testing.capture_logs() as lines:
        shown = progress.Lines()
        for _ in range(3):
            shown.stage(Stage.READING_FLEETS, 1000)
            shown.step(1000)
            clock.now += 1
    assert lines == []


def test_a_long_one_shows_every_few_seconds_how_far_it_is(clock: _Clock) -> None:
    with structlog.testing.capture_logs() as lines:
        shown = progress.Lines()
        shown.stage(Stage.CHANGING_MEMBERSHIPS, 12)
        for _ in range(12):
            clock.now += 1
            shown.step()
    assert [(line["event"], line["stage"], line["done"], line["total"]) for line in lines] == [
        ("progress", "Changing memberships", 5, 12),
        ("progress", "Changing memberships", 10, 12),
    ]
    assert [line["remaining_seconds"] for line in lines] == [7, 2]


def test_where_the_end_is_not_known_no_time_is_estimated(clock: _Clock) -> None:
    with structlog.testing.capture_logs() as lines:
        shown = progress.Lines()
        shown.stage(Stage.READING_ALL_DRIVERS, None)
        clock.now += 6
        shown.step()
    assert [line["remaining_seconds"] for line in lines] == [None]


def test_off_a_terminal_there_is_no_bar_and_nothing_to_clear() -> None:
    with progress.display(use_color=False) as display:
        assert isinstance(display, progress.Lines)
        progress.clear()
