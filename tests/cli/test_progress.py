"""Progress: a bar if stderr is a terminal (`tests/e2e/test_terminal`), otherwise a line every few seconds."""

import sys
import time
from collections.abc import Callable

import pytest
import structlog.testing

from tests.support import terminals
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


def test_the_time_that_is_left_counts_from_the_beginning_of_a_stage(clock: _Clock) -> None:
    with structlog.testing.capture_logs() as lines:
        shown = progress.Lines()
        shown.stage(Stage.READING_FLEETS, 1)
        clock.now += 100
        shown.step()
        shown.stage(Stage.CHANGING_MEMBERSHIPS, 3)
        clock.now += 6
        shown.step()
    assert [(line["done"], line["remaining_seconds"]) for line in lines] == [(1, 0), (1, 12)]


def test_off_a_terminal_there_is_no_bar_and_nothing_to_clear() -> None:
    with progress.display(use_color=False) as display:
        assert isinstance(display, progress.Lines)
        progress.clear()


def _on_a_terminal(monkeypatch: pytest.MonkeyPatch, kind: str = "xterm") -> None:
    """Let stderr be a terminal of this kind."""
    monkeypatch.setattr(sys, "stderr", terminals.Stream())
    monkeypatch.setenv("TERM", kind)


def test_a_bar_counts_the_steps_of_the_current_stage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_a_terminal(monkeypatch)
    with progress.display(use_color=True) as display:
        [drawing] = progress._drawn
        display.step()
        assert drawing.tasks == [], "there is no stage yet"
        for stage, total in ((Stage.READING_FLEETS, 4), (Stage.CHANGING_MEMBERSHIPS, None)):
            display.stage(stage, total)
            display.step()
            display.step(2)
            [task] = drawing.tasks
            assert (task.description, task.total, task.completed) == (stage, total, 3)


def test_a_bar_is_away_while_something_is_printed_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_a_terminal(monkeypatch)
    with progress.display(use_color=True) as display:
        [drawing] = progress._drawn
        display.stage(Stage.READING_FLEETS, 4)
        drawn = []
        ways: list[Callable[[], None]] = [display.step, lambda: display.stage(Stage.CHANGING_MEMBERSHIPS, 1)]
        for draw_again in ways:
            drawn.append(drawing.live.is_started)
            progress.clear()
            drawn.append(drawing.live.is_started)
            draw_again()
        drawn.append(drawing.live.is_started)
    assert [*drawn, drawing.live.is_started] == [True, False, True, False, True, False]
    assert progress._drawn == set()


@pytest.mark.parametrize("use_color", [True, False])
def test_a_bar_has_colors_unless_they_are_refused(monkeypatch: pytest.MonkeyPatch, use_color: bool) -> None:
    _on_a_terminal(monkeypatch)
    monkeypatch.delenv("NO_COLOR", raising=False)
    with progress.display(use_color=use_color):
        [drawing] = progress._drawn
        assert drawing.console.no_color is not use_color
        assert drawing.console.stderr


def test_a_terminal_that_cannot_draw_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    _on_a_terminal(monkeypatch, "dumb")
    with progress.display(use_color=True) as display:
        assert isinstance(display, progress.Lines)
