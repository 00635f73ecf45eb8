"""Shows how far a run is: a bar on a terminal, elsewhere a log line every few seconds.

Invariant: everything goes to stderr; whoever prints or logs calls `clear` before. Neighbours: implements
`core.ports.Progress`; `invocation` chooses.
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
    """Logs a line when a stage has been going on for some seconds, and every few seconds from then."""

    def __init__(self) -> None:
        """Start with nothing to tell."""
        self._name, self._total, self._done = "", None, 0  # type: tuple[str, int | None, int]
        self._told = time.monotonic()

    def stage(self, name: Stage, total: int | None) -> None:
        """Note what begins."""
        self._name, self._total, self._done = name, total, 0

    def step(self, count: int = 1) -> None:
        """Note what is done, and tell if it is time."""
        self._done += count
        if (now := time.monotonic()) - self._told >= _LINE_SECONDS:
            self._told = now
            import structlog  # what prints asks this module to clear the bar, and may need no log line at all

            structlog.get_logger().info("progress", stage=self._name, done=self._done, total=self._total)


class Bar:
    """Draws a bar for the present stage."""

    def __init__(self, progress: "rich.progress.Progress") -> None:
        """Draw on this display."""
        self._progress = progress
        self._task: rich.progress.TaskID | None = None

    def stage(self, name: Stage, total: int | None) -> None:
        """Begin a new bar in the place of the last."""
        self._progress.start()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total)

    def step(self, count: int = 1) -> None:
        """Lengthen the bar, and draw it again where it was cleared away."""
        if self._task is not None:
            self._progress.start()
            self._progress.advance(self._task, count)


@contextlib.contextmanager
def watch() -> Iterator[Progress]:
    """Give the progress that fits where stderr goes, and clear it away in the end."""
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
    display = rich.progress.Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    _drawn.add(display)
    try:
        with display:
            yield Bar(display)
    finally:
        _drawn.discard(display)


def clear() -> None:
    """Take the bar away, as something is about to be printed; the next step or stage draws it anew."""
    for display in _drawn:
        display.stop()
