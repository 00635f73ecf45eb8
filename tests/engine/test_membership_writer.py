"""What is said of a write that ended early: "not made" only where it certainly had no effect."""

import httpx
import pytest

from tests.engine.applying import account, attach, detach
from tests.support import doubles, harness
from tests.support.harness import DEPOT, VANS, A
from worker.core.model.errors import JournalError
from worker.core.model.identifiers import FleetId, IntentKey
from worker.core.model.outcomes import Already, Applied, Deferred, Outcome, Refused, Unknown
from worker.core.model.plan import Action, Change, ConcernedDriver
from worker.core.model.ports import Intent
from worker.core.safety import driver_state
from worker.engine import membership_writer, pause_watch, source_watch
from worker.engine.request_executor import Attempts

LOST = JournalError("the disk is full")


@pytest.mark.parametrize(
    ("attempts", "outcome"),
    [
        (Attempts(write=True), Deferred(0, LOST.code, "not sent: the disk is full")),
        (Attempts(write=True, count=2), Deferred(2, LOST.code, "not made: the disk is full")),
        (
            Attempts(write=True, count=2, maybe_applied=True),
            Unknown(2, LOST.code, "sent, but without a clear answer before the end: the disk is full"),
        ),
    ],
)
def test_the_end_of_a_run_says_how_often_a_write_was_sent_and_whether_it_is_unclear(
    attempts: Attempts, outcome: Outcome
) -> None:
    assert membership_writer.interrupted(attempts, LOST) == outcome


def test_an_end_without_a_reason_is_the_end_of_the_run() -> None:
    assert membership_writer.interrupted(Attempts(), None) == Deferred(0, "stopped", "not sent: the run ended")


def test_only_a_deferral_after_an_unclear_attempt_becomes_unknown() -> None:
    clear, unclear = Attempts(count=1), Attempts(count=1, maybe_applied=True)
    deferred, refused = Deferred(1, "stopped", "not sent", "req_1"), Refused(1, "invalid", "no")
    assert membership_writer.unless_unclear(clear, deferred) == deferred
    for outcome in (refused, Applied(1, "req_1")):
        assert membership_writer.unless_unclear(unclear, outcome) == outcome
    assert membership_writer.unless_unclear(unclear, deferred) == Unknown(
        1, "stopped", "not sent; an earlier attempt may still take effect", "req_1"
    )


# --- One write ---------------------------------------------------------------------------------------------


class Answers:
    """Answers every write with one status, and every reading with these fleets, or with 404 for None."""

    def __init__(self, status: int, shown: set[FleetId] | None = None, *, replied: set[FleetId] | None = None) -> None:
        self._status, self._shown, self._replied = status, shown, replied
        self.methods: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.methods.append(request.method)
        if request.method == "POST":
            if self._status == 200:
                return httpx.Response(200, json={"id": A, "fleets": sorted(self._replied or ())})
            return httpx.Response(self._status, json={"code": "no", "message": "no"})
        if self._shown is None:
            return httpx.Response(404, json={"code": "driver_not_found", "message": "gone"})
        return httpx.Response(200, json={"id": A, "fleets": sorted(self._shown)})


async def _write(change: Change, answers: Answers) -> tuple[Outcome, driver_state.DriverState]:
    account_harness = harness.Harness(account(), new_transport=lambda: httpx.MockTransport(answers))
    context = account_harness.context()
    writer = membership_writer.MembershipWriter(
        context,
        source_watch.SourceWatch((), clock=context.clock),
        {A: "suspended"},
        {},
        pause_watch.PauseWatch(context),
        dated=(),
    )
    state = driver_state.DriverState(ConcernedDriver(frozenset({VANS}), frozenset({DEPOT})))
    intent = Intent(IntentKey("key-1"), change)
    await context.journal.begin(context.run, trigger="test", guarded=doubles.guarded([change]), intents=[intent])
    pending = membership_writer.PendingWrite(intent)
    return await writer.write(pending, state), state


@pytest.mark.anyio
async def test_the_reply_to_a_first_attempt_is_the_newest_that_is_known_of_the_driver() -> None:
    answers = Answers(200, replied={VANS, DEPOT})
    outcome, state = await _write(attach(A, DEPOT), answers)
    assert (outcome, answers.methods) == (Applied(1), ["POST"])
    assert (state.latest, state.is_current, state.is_read) == (frozenset({VANS, DEPOT}), True, False)


@pytest.mark.anyio
async def test_a_reply_that_does_not_show_the_change_is_settled_by_a_reading() -> None:
    answers = Answers(200, {VANS, DEPOT}, replied={VANS})
    outcome, state = await _write(attach(A, DEPOT), answers)
    assert (outcome.name, answers.methods) == ("applied", ["POST", "GET"])
    assert (state.latest, state.is_read) == (frozenset({VANS, DEPOT}), True)
    unseen, _ = await _write(attach(A, DEPOT), Answers(200, {VANS}, replied={VANS}))
    assert isinstance(unseen, Unknown)
    assert (unseen.code, unseen.message) == (
        "not_converging",
        "Charge accepted the change, but a later reading does not show it; the driver is suspended",
    )


GONE = "the driver no longer exists"
BEFORE = "another client had made the change"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("action", "status", "shown", "expected", "requests"),
    [
        (Action.ATTACH, 400, {VANS}, Refused(1, "no", "400: no; the driver is suspended"), 1),
        (Action.DETACH, 400, {VANS}, Refused(1, "no", "400: no; the driver is suspended"), 1),
        (Action.ATTACH, 404, {VANS}, Refused(1, "no", "404: no; the driver is suspended"), 1),
        (Action.DETACH, 404, None, Already(1, message=GONE), 2),
        (Action.DETACH, 404, set(), Already(1, message=BEFORE), 2),
        (Action.DETACH, 404, {VANS}, Refused(1, "no", "404: no; the driver is suspended"), 2),
        (Action.ATTACH, 409, {VANS, DEPOT}, Already(1, message=BEFORE), 2),
        (Action.ATTACH, 409, {VANS}, Refused(1, "no", "409: no; the driver is suspended"), 2),
        (Action.ATTACH, 409, None, Refused(1, "driver_not_found", "404: gone"), 2),
    ],
)
async def test_a_refusal_is_settled_by_a_reading_only_where_the_change_may_be_done_already(
    action: Action, status: int, shown: set[FleetId] | None, expected: Outcome, requests: int
) -> None:
    answers = Answers(status, shown)
    outcome, _ = await _write(attach(A, DEPOT) if action is Action.ATTACH else detach(A, VANS), answers)
    assert (outcome, len(answers.methods)) == (expected, requests)
