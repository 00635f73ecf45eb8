"""What an outcome says about its change."""

import pytest

from worker.core.model import outcomes


@pytest.mark.parametrize(
    ("outcome", "superseded", "refusal"),
    [
        (outcomes.Applied(1), False, False),
        (outcomes.Stale("gone"), False, False),
        (outcomes.Deferred(0, outcomes.SUPERSEDED, "a source changed"), True, False),
        (outcomes.Deferred(0, outcomes.REFUSED_BEFORE, "refused"), False, True),
        (outcomes.Deferred(0, "drained", "the run was stopped"), False, False),
        (outcomes.Unknown(1, outcomes.SUPERSEDED, "no answer"), False, False),
        (outcomes.Unknown(1, outcomes.REFUSED_BEFORE, "no answer"), False, False),
        (outcomes.Refused(1, "archived", "refused"), False, True),
    ],
)
def test_what_is_superseded_and_what_is_a_refusal(outcome: outcomes.Outcome, superseded: bool, refusal: bool) -> None:
    assert outcomes.is_superseded(outcome) is superseded
    assert outcomes.is_refusal(outcome) is refusal
