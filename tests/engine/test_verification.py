"""What is said of drivers that could not be read back, or whose changes no reading shows."""

from typing import Any

import httpx
import pytest

from tests.engine.applying import account, attach
from tests.support import harness
from tests.support.harness import DEPOT, VANS, A, B
from worker.core.model.errors import Stopped
from worker.core.model.identifiers import DriverId, FleetId, IntentKey
from worker.core.model.outcomes import Applied, Outcome, Unknown
from worker.core.model.plan import ConcernedDriver
from worker.core.model.ports import Intent
from worker.core.pacing import retry_policy
from worker.core.safety import driver_state
from worker.engine import (
    driver_lane,
    membership_writer,
    outcome_writer,
    pause_watch,
    reader,
    source_watch,
    verification,
)

pytestmark = pytest.mark.anyio


class Shown:
    """Answers each retrieval with these fleets, or with 503 for a driver that is not listed."""

    def __init__(self, fleets: dict[DriverId, set[FleetId]]) -> None:
        self.fleets = fleets
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        driver = DriverId(request.url.path.rpartition("/")[2])
        self.asked.append(driver)
        if driver not in self.fleets:
            return httpx.Response(503)
        return httpx.Response(200, json={"id": driver, "fleets": sorted(self.fleets[driver])})


class Verified:
    """Lanes whose driver was attached to DEPOT, and a verification of them."""

    def __init__(self, shown: Shown, *, retries: int = 1) -> None:
        policy = {"policy": retry_policy.RetryPolicy(max_attempts=retries)}
        options: dict[str, Any] = {"new_transport": lambda: httpx.MockTransport(shown), **policy}
        self.context = harness.Harness(account(), **options).context()
        self._check = verification.Verification(
            self.context, reader.Reader(self.context), desired=None, listing_requests=0
        )

    def lane(self, driver: DriverId, outcome: Outcome, *, sent: int = 1) -> driver_lane.DriverLane:
        """Return a lane whose write ended like this, and whose reply showed the driver in DEPOT."""
        context = self.context
        sources, pauses = source_watch.SourceWatch((), clock=context.clock), pause_watch.PauseWatch(context)
        writer = membership_writer.MembershipWriter(context, sources, {}, {}, pauses, dated=())
        outcomes = outcome_writer.OutcomeWriter(journal=context.journal, run_cancellation=context.cancellation)
        wanted = frozenset({DEPOT})
        state = driver_state.DriverState(ConcernedDriver(frozenset(), wanted))
        state.mark_written()
        state.add_reply(wanted)
        intent = Intent(IntentKey(f"key-{driver}"), attach(driver, DEPOT))
        pending = membership_writer.PendingWrite(intent, outcome=outcome)
        pending.attempts.count = sent
        return driver_lane.DriverLane(context, writer, outcomes, driver=driver, pending=[pending], state=state)

    async def problems(self, *lanes: driver_lane.DriverLane) -> list[tuple[str, str]]:
        """Return the codes and messages of what is wrong."""
        return [(each.code.value, each.message) for each in await self._check.verify(lanes)]


async def test_drivers_that_a_reading_shows_as_written_are_no_problem_and_are_read_once() -> None:
    shown = Shown({A: {DEPOT}, B: {DEPOT}})
    verified = Verified(shown)
    lanes = [verified.lane(driver, Applied(1)) for driver in (A, B)]
    assert await verified.problems(*lanes) == []
    assert sorted(shown.asked) == [A, B]
    assert all(lane.was_read_back for lane in lanes)


async def test_a_driver_that_was_not_written_is_not_read() -> None:
    shown = Shown({})
    verified = Verified(shown)
    assert await verified.problems(verified.lane(A, Applied(1), sent=0)) == []
    assert shown.asked == []


async def test_a_driver_that_cannot_be_read_back_is_one_problem_although_its_reply_was_good() -> None:
    verified = Verified(Shown({B: {DEPOT}}))
    lanes = [verified.lane(driver, Applied(1)) for driver in (A, B)]
    assert await verified.problems(*lanes) == [("not_read_back", f"1 driver could not be read back: {A}")]
    assert [each.outcome for lane in lanes for each in lane.results()] == [Applied(1), Applied(1)]


async def test_where_charge_does_not_answer_at_all_it_is_asked_once() -> None:
    shown = Shown({})
    verified = Verified(shown)
    lanes = [verified.lane(driver, Applied(1)) for driver in (A, B)]
    assert await verified.problems(*lanes) == [("not_read_back", f"2 drivers could not be read back: {A}, {B}")]
    assert sorted(shown.asked) == [A, B]


async def test_in_an_outage_some_of_the_drivers_are_named() -> None:
    verified = Verified(Shown({}))
    drivers = [DriverId(f"drv_{number:032d}") for number in range(31)]
    [(_, message)] = await verified.problems(*(verified.lane(driver, Applied(1)) for driver in reversed(drivers)))
    assert message == f"31 drivers could not be read back: {', '.join(drivers[:30])}, …"


async def test_a_change_that_no_reading_shows_is_read_until_the_pauses_are_over_and_then_unknown() -> None:
    shown = Shown({A: {VANS}})
    verified = Verified(shown)
    lane = verified.lane(A, Applied(1))
    assert await verified.problems(lane) == [
        ("not_converging", "Charge accepted changes of 1 driver, but no reading shows them")
    ]
    assert shown.asked == [A] * (1 + len(driver_lane.READ_BACK_DELAYS))
    assert isinstance(lane.results()[0].outcome, Unknown)


async def test_a_stopped_run_reads_nothing_and_says_so() -> None:
    shown = Shown({A: {DEPOT}})
    verified = Verified(shown)
    verified.context.cancellation.request_stop(Stopped("SIGTERM", exit_code=143))
    lane = verified.lane(A, Applied(1))
    assert await verified.problems(lane) == [("not_read_back", f"1 driver could not be read back: {A}")]
    assert (shown.asked, lane.results()[0].outcome) == ([], Applied(1))
