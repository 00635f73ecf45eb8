"""How long a proof lasts that a driver may be detached."""

import pytest

from worker.core.safety import freshness


@pytest.mark.parametrize(("seconds_between_turns", "lifetime"), [(0.04, 5.0), (2.0, 5.0), (2.5, 5.0), (10.0, 20.0)])
def test_a_proof_lasts_five_seconds_or_two_turns(seconds_between_turns: float, lifetime: float) -> None:
    proof = freshness.Proof(sent=100.0, seconds_between_turns=seconds_between_turns)
    assert proof.is_fresh(100.0)
    assert proof.is_fresh(100.0 + lifetime)
    assert not proof.is_fresh(100.1 + lifetime)
