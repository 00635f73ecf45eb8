"""What is said of a write that ended early: "not made" only where it certainly had no effect."""

import pytest

from worker.core.model.errors import JournalError
from worker.core.model.outcomes import Applied, Deferred, Outcome, Refused, Unknown
from worker.engine import membership_writer
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
