"""The oracles can fail: each of these products has one defect, and some world finds it under the right name."""

import dataclasses
from typing import Any

import pytest

from tests.simulation import defective_judgement, defective_sending, surroundings, world
from tests.support import laws
from worker.engine import wiring

MOST_WORLDS = 300
SHORTCUTS = (7, 11, 41, 180)
"""Worlds that found what many others did not: played first, they save minutes."""

FOUND_BY = {
    "Unguarded": 1,
    "Additive": 2,
    "Guesser": 4,
    "Undaunted": 11,
    "Blind": 41,
    "Rosy": 250,
    "Forgiving": 569678753,
    "Credulous": 180,
}
"""The world that finds a defect which the first shortcut misses: played before all others."""


def _engine(**parts: Any) -> surroundings.Parts:
    return surroundings.Parts(engine=wiring.Parts(**parts))


DEFECTS = [
    (surroundings.Parts(new_client=defective_sending.KeyPerAttempt), "rule 4"),
    (_engine(applier_class=defective_sending.OneKey), "rule 5"),
    laws.slow(_engine(applier_class=defective_sending.DetachFirst), "rule 3"),
    (_engine(applier_class=defective_sending.DetachAnyway), "rule 3"),
    laws.slow(_engine(reader_class=defective_judgement.Believer), "rule 2"),
    (_engine(reader_class=defective_judgement.Guesser), "rule 1"),
    (surroundings.Parts(new_journal=defective_sending.LateIntents), "rule 4"),
    (surroundings.Parts(new_journal=defective_sending.Forgetful), "record"),
    (_engine(reconciler_class=defective_judgement.NoRecovery), "record"),
    (_engine(builder_class=defective_judgement.Unguarded), "guard"),
    laws.slow(_engine(builder_class=defective_judgement.Shrugging), "shrunk"),
    (_engine(builder_class=defective_judgement.Additive), "rule 1"),
    laws.slow(_engine(builder_class=defective_judgement.HalfSources), "rule 2"),
    (surroundings.Parts(new_cancellation=defective_sending.Undaunted), "shutdown"),
    (surroundings.Parts(new_cancellation=defective_sending.Deaf), "shutdown"),
    laws.slow(surroundings.Parts(new_cancellation=defective_sending.Sleepwalker), "pause"),
    laws.slow(_engine(applier_class=defective_sending.Usurper), "one writer"),
    (surroundings.Parts(new_limiter=defective_sending.Rushing), "rate limit"),
    laws.slow(surroundings.Parts(new_transport=defective_sending.Trusting), "rule 6"),
    laws.slow(surroundings.Parts(new_limiter=defective_sending.Stuck), "deadlock"),
    laws.slow(surroundings.Parts(new_executor=defective_sending.Hasty), "bound"),
    (_engine(applier_class=defective_sending.Careless), "report"),
    (_engine(applier_class=defective_sending.Pessimist), "record"),
    (_engine(applier_class=defective_sending.Lazy), "convergence"),
    (_engine(applier_class=defective_sending.DetachAnyway), "proof"),
    laws.slow(_engine(applier_class=defective_sending.OldProof), "proof"),
    (_engine(applier_class=defective_sending.Blind), "converged"),
    laws.slow(_engine(applier_class=defective_sending.Blind), "state"),
    (_engine(applier_class=defective_sending.Forgiving), "converged"),
    (_engine(reconciler_class=defective_judgement.Rosy), "converged"),
    laws.slow(_engine(applier_class=defective_sending.Obstinate), "rule 11"),
    laws.slow(_engine(reconciler_class=defective_judgement.NoHorizon), "rule 5"),
    (_engine(builder_class=defective_judgement.Credulous), "clock"),
    laws.slow(_engine(applier_class=defective_judgement.Unflinching), "clock"),
]


def _name(defect: object) -> str:
    if not isinstance(defect, surroundings.Parts):
        return str(defect).replace(" ", "-")
    own = [(field, getattr(defect, field.name)) for field in dataclasses.fields(defect) if field.name != "engine"]
    engine = [(field, getattr(defect.engine, field.name)) for field in dataclasses.fields(defect.engine)]
    return "-".join(part.__name__ for field, part in (*own, *engine) if part is not field.default)


@pytest.mark.parametrize(("parts", "rule"), DEFECTS, ids=_name)
def test_a_planted_defect_is_found(parts: surroundings.Parts, rule: str) -> None:
    found: set[str] = set()
    first = FOUND_BY.get(_name(parts), SHORTCUTS[0])
    for seed in (first, *SHORTCUTS, *range(MOST_WORLDS)):
        found |= {line.partition(":")[0] for line in world.play(seed, parts=parts).violations}
        if rule in found:
            return
    pytest.fail(f"{MOST_WORLDS} worlds found only {sorted(found)}")
