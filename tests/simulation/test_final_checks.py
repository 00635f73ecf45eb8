"""The judge of the journal at the end of a world, by records that are made up."""

import pytest

from tests.simulation import audit, final_checks, journal_storage
from tests.support import clocks
from worker.core.model.identifiers import DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import Applied
from worker.core.model.plan import Action, Change
from worker.core.model.ports import Intent

pytestmark = pytest.mark.anyio

PAIR = ("drv_a", "flt_vans")


@pytest.mark.parametrize(
    ("settled", "found"),
    [(5, []), (7, ["record: A-1 is recorded as applied, and the server did not do it"])],
)
async def test_a_claim_of_what_always_was_is_true_until_it_is_reversed(settled: int, found: list[str]) -> None:
    seen = audit.Audit(verbose=False)
    storage = journal_storage.in_memory(clocks.Wall())
    for number, action in enumerate((Action.ATTACH, Action.DETACH), 1):
        intent = Intent(IntentKey(f"A-{number}"), Change(action, DriverId(PAIR[0]), FleetId(PAIR[1])))
        storage.entries[intent.key] = journal_storage.Entry(intent, RunId("run-1"), set(), [Applied(1)], settled)
    seen.effects.append(audit.Effect(6, 60.0, "detach", PAIR, "A-2", changed=True, left=frozenset()))
    seen.changes[PAIR].append((6, "A"))
    final_checks.recorded(seen, "A", storage)
    assert seen.violations == found
