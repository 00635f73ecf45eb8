"""Shows the progress of a run: a bar on a terminal, elsewhere a log line every few seconds.

Invariant: everything goes to stderr, and everything that prints or logs calls `clear` first. Neighbours: implements
`core.model.ports.Progress`; `context` opens the display.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

    from worker.core.model.ports import Progress, Stage

_LINE_SECONDS = 5.0

_drawn: set["rich.progress.Progress"] = set()


class Lines:
    """Logs a line every few seconds while a stage goes on."""

    def __init__(self) -> None:
        """Start before the first stage."""
        self._name, self._total, self._done = "", None, 0  # type: tuple[str, int | None, int]
        self._began = self._logged = time.monotonic()

    def stage(self, name: "Stage", total: int | None) -> None:
        """Begin a stage."""
        self._name, self._total, self._done = name, total, 0
        self._began = time.monotonic()

    def step(self, count: int = 1) -> None:
        """Count steps, and log a line if the last one is old enough."""
        self._done += count
        if (now := time.monotonic()) - self._logged >= _LINE_SECONDS:
            self._logged = now
            import structlog  # imported late: everything that prints imports this module, and most of it logs nothing

            fields = {"stage": self._name, "done": self._done, "total": self._total}
            structlog.get_logger().info("progress", **fields, remaining_seconds=self._remaining(now - self._began))

    def _remaining(self, elapsed: float) -> int | None:
        """Return the estimated seconds until the end of the stage, if its number of steps is known."""
        if self._total is None:
            return None
        return round(elapsed / max(1, self._done) * max(0, self._total - self._done))


class Bar:
    """Draws a bar for the current stage."""

    def __init__(self, progress: "rich.progress.Progress") -> None:
        """Draw on this display."""
        self._progress = progress
        self._task: rich.progress.TaskID | None = None

    def stage(self, name: "Stage", total: int | None) -> None:
        """Replace the bar with the bar of a new stage."""
        self._progress.start()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total)

    def step(self, count: int = 1) -> None:
        """Advance the bar, and draw it again if it was cleared."""
        if self._task is not None:
            self._progress.start()
            self._progress.advance(self._task, count)


@contextlib.contextmanager
def display(*, use_color: bool) -> "Iterator[Progress]":
    """Yield a bar if stderr is a terminal, otherwise log lines. Remove the bar at the end."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines()
        return
    if not sys.modules.get("rich", True):  # `main` has kept structlog from importing it
        del sys.modules["rich"]
    import rich.console
    import rich.progress

    columns = (
        "[progress.description]{task.description}",
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(compact=True),
    )
    console = rich.console.Console(stderr=True, no_color=None if use_color else True)
    drawing = rich.progress.Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    _drawn.add(drawing)
    try:
        with drawing:
            yield Bar(drawing)
    finally:
        _drawn.discard(drawing)


def clear() -> None:
    """Remove the bar before something is printed. The next step or stage draws it again."""
    for drawing in _drawn:
        drawing.stop()
