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

from worker.core.model.ports import Progress, Stage

if TYPE_CHECKING:
    import rich.progress

_LINE_SECONDS = 5.0

_drawn: set["rich.progress.Progress"] = set()


class Lines:
    """Logs a line every few seconds while a stage goes on."""

    def __init__(self) -> None:
        """Start before the first stage."""
        self._name, self._total, self._done = "", None, 0  # type: tuple[str, int | None, int]
        self._logged = time.monotonic()

    def stage(self, name: Stage, total: int | None) -> None:
        """Begin a stage."""
        self._name, self._total, self._done = name, total, 0

    def step(self, count: int = 1) -> None:
        """Count steps, and log a line if the last one is old enough."""
        self._done += count
        if (now := time.monotonic()) - self._logged >= _LINE_SECONDS:
            self._logged = now
            import structlog  # imported late: everything that prints imports this module, and most of it logs nothing

            structlog.get_logger().info("progress", stage=self._name, done=self._done, total=self._total)


class Bar:
    """Draws a bar for the current stage."""

    def __init__(self, progress: "rich.progress.Progress") -> None:
        """Draw on this display."""
        self._progress = progress
        self._task: rich.progress.TaskID | None = None

    def stage(self, name: Stage, total: int | None) -> None:
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
def display() -> Iterator[Progress]:
    """Yield a bar if stderr is a terminal, otherwise log lines. Remove the bar at the end."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines()
        return
    import rich.console
    import rich.progress

    columns = (
        "[progress.description]{task.description}",
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
    )
    console = rich.console.Console(stderr=True)
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
