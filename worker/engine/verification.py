"""Looks whether what was answered as done is so: an answer may be a replay of how things once were.

Invariant: only a fresh reading changes an outcome, and only from done to unknown. Neighbours: `cycle` asks after it
applied, `core.evidence` holds outcomes against the reading.
"""

from collections.abc import Collection

import structlog

from worker.core import values
from worker.core.model.errors import FleetSyncError
from worker.core.model.outcomes import ChangeResult
from worker.core.planning import observation
from worker.engine import halt as halt_
from worker.engine import reading
from worker.engine import survey as survey_

log = structlog.get_logger()


async def verify(
    results: tuple[ChangeResult, ...],
    *,
    survey: survey_.Survey | None,
    reader: reading.Reader,
    halt: halt_.Halt,
) -> tuple[tuple[ChangeResult, ...], tuple[values.Problem, ...]]:
    """Read back what was answered as done; give the results as they are then, and what is wrong with them.

    `survey` is what the run began with, if it read everything; a halted run reads nothing any more.
    """
    drivers = {result.change.driver for result in results if result.done}
    if not drivers or halt.reason is not None:
        return results, ()
    try:
        async with halt.reading():
            actual = await _read_back(drivers, survey, reader)
    except FleetSyncError as error:
        return results, (values.Problem("verification", f"what was done could not be read back: {error.message}"),)
    verified = tuple(observation.check_against(result, actual) for result in results)
    lost = sum(result.done for result in results) - sum(result.done for result in verified)
    unread = sum(result.done and observation.is_unobserved(result.change, actual) for result in results)
    messages = []
    if lost:
        log.error("not_converging", changes=lost)
        messages.append(f"{lost} of the changes were answered as done, but a fresh reading does not show them")
    if unread:
        messages.append(f"{unread} of the changes were answered as done, but could not be read back")
    return verified, tuple(values.Problem("verification", message) for message in messages)


async def _read_back(
    drivers: Collection[values.DriverId], survey: survey_.Survey | None, reader: reading.Reader
) -> values.Actual:
    """Read the changed drivers, or everything once more where that costs fewer requests."""
    if survey is None or len(drivers) <= survey.actual.requests:
        return await reader.drivers(drivers)
    return await reader.read(survey.desired)
