"""The judge of whole drivers at the end of a run, by a run that is made up."""

import pytest

from tests.simulation import audit, expected_state, state_oracle
from tests.support import clocks, doubles
from worker.core.model.desired import Mode
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.outcomes import Applied, ChangeResult
from worker.core.model.plan import Action, Change
from worker.core.model.report import Report

pytestmark = pytest.mark.anyio

DRIVER = "drv_a"
ATTACH = Change(Action.ATTACH, DriverId(DRIVER), FleetId("flt_vans"))
REPORT = Report(
    RunId("run-1"), clocks.NOON, clocks.NOON, doubles.guarded([ATTACH]), (ChangeResult(ATTACH, Applied(1)),)
)


@pytest.mark.parametrize("case", ["wanted", "additive", "unmanaged", "unclear", "waiting", "grace", "unwanted"])
async def test_a_run_that_has_converged_may_show_a_driver_in_no_fleet_that_is_exact_and_does_not_want_the_driver(
    case: str,
) -> None:
    expected = expected_state.Expected(modes={"flt_vans": Mode.EXACT}, wanted={(DRIVER, "flt_vans")})
    expected.possible |= expected.wanted | ({(DRIVER, "flt_depot")} if case == "wanted" else set())
    if case != "unmanaged":
        expected.modes["flt_depot"] = Mode.ADDITIVE if case == "additive" else Mode.EXACT
    expected.unclear |= {"flt_depot"} if case == "unclear" else set()
    expected.waiting |= {DRIVER} if case == "waiting" else set()
    run = audit.Run("run-1", "A", 1, 0, 0.0, expectations=[expected])
    run.writes.append(("attach", (DRIVER, "flt_vans"), "key-1"))
    run.note(DRIVER, audit.Evidence(5, 5, 5.0, 6, frozenset({"flt_vans", "flt_depot"})))
    seen = audit.Audit(verbose=False)
    state_oracle.converged(seen, run, REPORT, has_grace=case == "grace")
    assert len(seen.violations) == (case == "unwanted")
