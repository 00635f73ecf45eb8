"""States of a service, and the notifications that follow from them, for the tests of notifications."""

import dataclasses

from tests.support import clocks, doubles
from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.outcomes import ChangeResult, Refused
from worker.core.model.plan import Action, Change, GuardedPlan, HeldChange
from worker.core.model.report import Report
from worker.core.monitoring import notifications, status
from worker.core.safety import guard

NOON = clocks.NOON
VANS, CARS = FleetId(f"flt_{'v' * 32}"), FleetId(f"flt_{'c' * 32}")
ANN, BOB = DriverId(f"drv_{'a' * 32}"), DriverId(f"drv_{'b' * 32}")
ATTACH, DETACH = Action.ATTACH, Action.DETACH

IDLE = status.Status(
    now=NOON,
    started=NOON,
    version="0.1.0",
    account=Account("https://charge.test/v1", "live"),
    rate=1.0,
    ceiling=1.0,
)


def held(*changes: Change, by: str = guard.PER_RUN) -> GuardedPlan:
    return dataclasses.replace(doubles.guarded(()), held=tuple(HeldChange(each, by, "too many") for each in changes))


def refused(change: Change, message: str = "409: no") -> ChangeResult:
    return ChangeResult(change, Refused(1, "policy_blocked", message, "req_1"))


def after(
    *results: ChangeResult,
    guarded: GuardedPlan | None = None,
    error: FleetSyncError | None = None,
    broken: tuple[status.Broken, ...] = (),
    planned: bool = True,
) -> status.Status:
    """Return the state after a run with this plan (an empty one by default, none unless `planned`) and results."""
    plan = (guarded or doubles.guarded(())) if planned else None
    last = Report(RunId("run_1"), NOON, NOON, plan, results=results, error=error)
    return dataclasses.replace(IDLE, last=last, broken=broken)


def mark_failed(part: status.Part, message: str = "it is gone") -> status.Broken:
    return status.Broken(part, NOON, FleetSyncError(message, code="gone", remedy="Bring it back."))


def kinds(*states: status.Status) -> list[list[str]]:
    """Return the kinds of notifications at each state of a history."""
    told, found = notifications.NotificationState(), []
    for present in states:
        notices, told = notifications.diff(present, told)
        found.append([each.kind.value for each in notices])
    return found


def only(present: status.Status, told: notifications.NotificationState | None = None) -> notifications.Notification:
    (found,), _ = notifications.diff(present, told or notifications.NotificationState())
    return found


OUT, IN = Change(DETACH, ANN, VANS), Change(ATTACH, BOB, CARS)
FINE = after()
