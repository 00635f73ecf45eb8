"""Watches for pauses while changes are sent: what a pause covers is not sent any more.

Invariant: after the pause was noticed, within about a second, no attempt of a change that it covers is sent.
Neighbours: `membership_writer` checks before each attempt, `plan_builder` leaves out what was paused before.
"""

import contextlib
from collections.abc import Sequence

import anyio

from worker.core.model.errors import ChangeWithheld, JournalError
from worker.core.model.pauses import PAUSED, Pause
from worker.core.model.plan import Change
from worker.engine import run_context

_INTERVAL = 1.0
"""Seconds between two readings of the journal."""


class PauseWatch:
    """The pauses in force, as a run sees them."""

    def __init__(self, context: run_context.RunContext, *, ignored: bool = False) -> None:
        """Take the run. With `ignored`, pauses are not looked for: the operator applies a plan in spite of one."""
        self._context = context
        self._ignored = ignored
        self._pauses: Sequence[Pause] = ()

    async def refresh(self) -> None:
        """Read the pauses in force. A journal that cannot be read stops the run elsewhere."""
        if not self._ignored:
            with contextlib.suppress(JournalError):
                now = self._context.wall_clock.assess().earliest  # a clock that is ahead ends no pause
                self._pauses = await self._context.journal.pauses(now=now)

    async def run_forever(self) -> None:
        """Read them again and again."""
        while not self._ignored:
            await anyio.sleep(_INTERVAL)
            await self.refresh()

    def check(self, change: Change) -> None:
        """Raise errors.ChangeWithheld if a pause covers the change."""
        for pause in self._pauses:
            if pause.covers(change):
                raise ChangeWithheld(str(pause), code=PAUSED)
