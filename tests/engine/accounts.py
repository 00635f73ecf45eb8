"""An account from which two attaches and one detach lead to what is wanted, and a source with dates."""

import dataclasses
import datetime

from tests.support import doubles, harness
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C, D
from worker.core.model.desired import SourceReading
from worker.sandbox import state


def account() -> state.SandboxState:
    return harness.state_of({VANS: [A, B], DEPOT: [C], NORTH: [A]}, others=[D])


WANTED = {VANS: [B, D], DEPOT: [A, C]}
"""Two attaches and one detach away from the account; fleet NORTH is nobody's business."""

AFTER = {(B, VANS), (D, VANS), (A, DEPOT), (C, DEPOT), (A, NORTH)}


class Dated(doubles.Source):
    """A source in which the rows of some references have dates."""

    def __init__(self, wanted: harness.Wanted, **dates: tuple[datetime.datetime, datetime.datetime]) -> None:
        """Take what is wanted, and the dates by the reference, or by the letter of a driver's id."""
        super().__init__(wanted)
        self._dates = {f"drv_{name * 32}" if len(name) == 1 else name: span for name, span in dates.items()}

    async def read(self) -> SourceReading:
        """Return the whole reading."""
        reading = await super().read()
        rows = tuple(
            dataclasses.replace(row, starts=self._dates[str(row.driver)][0], ends=self._dates[str(row.driver)][1])
            if str(row.driver) in self._dates
            else row
            for row in reading.rows
        )
        return dataclasses.replace(reading, rows=rows)
