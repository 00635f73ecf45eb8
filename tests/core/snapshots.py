"""Snapshots of a service for the tests of what people are shown: plans, runs, states."""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

from tests.core import worlds
from tests.core.worlds import DEPOT, NORTH, VANS, A, B, C
from worker.core.model.errors import FleetSyncError, JournalError
from worker.core.model.identifiers import RunId
from worker.core.model.outcomes import ChangeResult, Outcome
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.model.ports import Stage
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.core.safety import guard

NOW = worlds.NOW
MINUTE = datetime.timedelta(minutes=1)
ATTACH = Change(Action.ATTACH, A, VANS)
DETACH = Change(Action.DETACH, B, VANS)
OTHER = Change(Action.DETACH, C, DEPOT)
FULL = JournalError("no space left on device")


def guarded(
    changes: Sequence[Change] = (),
    *,
    held: Sequence[HeldChange] = (),
    problems: Sequence[Problem] = (),
    unsettled: bool = False,
) -> GuardedPlan:
    return GuardedPlan(
        account=worlds.ACCOUNT,
        created=NOW,
        sources=(),
        changes=tuple(changes),
        held=tuple(held),
        problems=tuple(problems),
        in_sync=7,
        fleets=2,
        drivers=7,
        cost=Cost(0, 0.0),
        digest="sha256:1",
        unsettled=unsettled,
    )


def ended(plan: GuardedPlan | None, *came: Outcome, **more: Any) -> Report:
    results = tuple(map(ChangeResult, plan.changes if plan else (), came))
    return Report(RunId("run_1"), NOW - 2 * MINUTE, NOW - MINUTE, plan, results, **more)


def present(last: Report | None = None, **more: Any) -> status.Status:
    fleets = (status.Fleet(VANS, "Paris vans", in_sync=5), status.Fleet(DEPOT, "", in_sync=2))
    made = status.Status(
        now=NOW,
        started=NOW - datetime.timedelta(days=1),
        version="1",
        account=worlds.ACCOUNT,
        rate=1.0,
        ceiling=2.0,
        last=last,
        fleets=fleets,
    )
    return dataclasses.replace(made, **more)


def running(stage: Stage | None = None, done: int = 0, total: int | None = None) -> status.Running:
    return status.Running(RunId("run_2"), "interval", NOW, stage, done, total)


def held(change: Change, by: str = guard.PER_FLEET, message: str = "too many") -> HeldChange:
    return HeldChange(change, by, message)


QUIET = ended(guarded())
DRIFTED = (status.Fleet(VANS, "", drifted=3), status.Fleet(DEPOT, "", drifted=1), status.Fleet(NORTH, ""))
DUPLICATE = Problem("a.yaml:9:3", "is the same as a.yaml:2:3", note=True)
UNSETTLED = guarded(problems=[Problem("a.yaml:1:1", "leads nowhere")], unsettled=True)


def broken(part: str, error: FleetSyncError = FULL, *, since: datetime.datetime = NOW) -> status.Broken:
    return status.Broken(status.Part(part), since, error)
