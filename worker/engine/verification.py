"""Looks whether what was answered as done is so: an answer may be a replay of how things once were.

Invariant: only a fresh reading changes an outcome, and only from done to unknown. Neighbours: `cycle` asks after it
applied, `core.evidence` holds outcomes against the reading.
"""

from collections.abc import Collection

import structlog

from worker.core.model.actual import Actual
from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import DriverId
from worker.core.model.outcomes import ChangeResult
from worker.core.model.problem import Problem
from worker.core.planning import observation
from worker.engine import cancellation, plan_builder, reader

log = structlog.get_logger()


async def verify(
    results: tuple[ChangeResult, ...],
    *,
    plan_result: plan_builder.PlanResult | None,
    reader: reader.Reader,
    run_cancellation: cancellation.Cancellation,
) -> tuple[tuple[ChangeResult, ...], tuple[Problem, ...]]:
    """Read back what was answered as done; give the results as they are then, and what is wrong with them.

    `survey` is what the run began with, if it read everything; a halted run reads nothing any more.
    """
    drivers = {result.change.driver for result in results if result.done}
    if not drivers or run_cancellation.reason is not None:
        return results, ()
    try:
        async with run_cancellation.reading():
            actual = await _read_back(drivers, plan_result, reader)
    except FleetSyncError as error:
        return results, (Problem("verification", f"what was done could not be read back: {error.message}"),)
    verified = tuple(observation.check_against(result, actual) for result in results)
    lost = sum(result.done for result in results) - sum(result.done for result in verified)
    unread = sum(result.done and observation.is_unobserved(result.change, actual) for result in results)
    messages = []
    if lost:
        log.error("not_converging", changes=lost)
        messages.append(f"{lost} of the changes were answered as done, but a fresh reading does not show them")
    if unread:
        messages.append(f"{unread} of the changes were answered as done, but could not be read back")
    return verified, tuple(Problem("verification", message) for message in messages)


async def _read_back(
    drivers: Collection[DriverId], plan_result: plan_builder.PlanResult | None, reader: reader.Reader
) -> Actual:
    """Read the changed drivers, or everything once more where that costs fewer requests."""
    if plan_result is None or len(drivers) <= plan_result.actual.requests:
        return await reader.drivers(drivers)
    return await reader.read(plan_result.desired)
