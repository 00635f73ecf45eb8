"""Converts plans, reports and errors to JSON documents, as the documentation describes them.

Invariant: the format is a contract; fields are only added. Neighbours: `plan_digest` identifies a plan,
`cli.plan_file` reads a saved plan.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from worker.core.model.desired import SourceRevision
from worker.core.model.errors import FleetSyncError
from worker.core.model.outcomes import (
    OUTCOME_NAMES,
    Already,
    Applied,
    ChangeResult,
    Deferred,
    Outcome,
    Refused,
    Stale,
    Unknown,
)
from worker.core.model.plan import Action, Change, GuardedPlan, HeldChange, RecentCounts
from worker.core.model.plan_digest import PLAN_FORMAT
from worker.core.model.ports import PastApproval, PastChange, PastRun
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.model.source_history import ShrunkSource

REPORT_FORMAT = "fleet-sync/report@1"
ERROR_FORMAT = "fleet-sync/error@1"

Document = Mapping[str, Any]


def plan_document(guarded: GuardedPlan) -> Document:
    """Return a plan as `fleet-sync/plan@1`."""
    attach = sum(change.action is Action.ATTACH for change in guarded.changes)
    return {
        "format": PLAN_FORMAT,
        "digest": guarded.digest,
        "held_digest": guarded.held_digest or None,
        "account": {"base_url": guarded.account.base_url, "mode": guarded.account.mode},
        "created": format_time(guarded.created),
        "sources": [source_document(source) for source in guarded.sources],
        "changes": [change_document(each) for each in guarded.changes],
        "held": [_held_document(each) for each in guarded.held],
        "shrunk": [shrunk_document(each) for each in guarded.shrunk],
        "problems": [problem_document(each) for each in guarded.problems],
        "summary": {
            "attach": attach,
            "detach": len(guarded.changes) - attach,
            "held": len(guarded.held),
            "in_sync": guarded.in_sync,
            "fleets": guarded.fleets,
            "drivers": guarded.drivers,
            "window": _window_document(guarded.recent),
        },
        "cost": {"requests": guarded.cost.requests, "seconds": guarded.cost.seconds},
        "names": guarded.names,
    }


def source_document(source: SourceRevision) -> Document:
    """Return a source as it was read. `modified` is null if it is not known when the source last changed."""
    return {
        "kind": source.kind,
        "name": source.name,
        "revision": source.revision,
        "rows": source.rows,
        "modified": None if source.modified is None else format_time(source.modified),
        "proof": source.proof,
    }


def shrunk_document(each: ShrunkSource) -> Document:
    """Return a source that lost too many rows."""
    return {"source": each.name, "rows": each.rows, "baseline": each.baseline, "message": each.message}


def _held_document(held: HeldChange) -> Document:
    return {**change_document(held.change), "guard": held.guard, "message": held.message}


def _window_document(recent: RecentCounts) -> Document:
    since = None if recent.since is None else format_time(recent.since)
    counts = {"detached": recent.detached, "attached": recent.attached, "approved": recent.approved}
    return {"hours": recent.hours, "since": since, **counts}


def change_document(each: Change) -> Document:
    """Return one change."""
    origin = None if each.origin is None else str(each.origin)
    return {"action": each.action.value, "driver": each.driver, "fleet": each.fleet, "origin": origin}


def problem_document(each: Problem) -> Document:
    """Return one problem; `remedy` is null unless it has its own, and `note` says that it is harmless."""
    return {
        "where": each.where,
        "message": each.message,
        "code": each.code.value,
        "remedy": each.remedy or None,
        "note": each.note,
    }


def report_document(finished: Report) -> Document:
    """Return a report as `fleet-sync/report@1`. `plan` is null if the run failed before there was one."""
    return {
        "format": REPORT_FORMAT,
        "run": finished.run,
        "result": finished.result.value,
        "exit_code": finished.exit_code,
        "started": format_time(finished.started),
        "finished": format_time(finished.finished),
        "plan": None if finished.guarded is None else plan_document(finished.guarded),
        "outcomes": dict(finished.counts),
        "changes": [result_document(each) for each in finished.results],
        "problems": [problem_document(each) for each in finished.problems],
        "requests": {
            "reads": finished.traffic.reads,
            "writes": finished.traffic.writes,
            "retries": finished.traffic.retries,
            "rate_limited": finished.traffic.rate_limited,
        },
        "error": None if finished.error is None else error_document(finished.error),
        "names": {} if finished.guarded is None else finished.guarded.names,
    }


def result_document(each: ChangeResult) -> Document:
    """Return one change with its outcome, and with `"repair": true` if it is not in the plan."""
    document = {"action": each.change.action.value, "driver": each.change.driver, "fleet": each.change.fleet}
    return {**document, **outcome_document(each.outcome), **({"repair": True} if each.repair else {})}


def saved_plan_document(guarded: GuardedPlan) -> Document:
    """Return a guarded plan as a saved plan holds it.

    Beyond the plan it has the mode of each managed fleet and whether `guard.unmanaged` lists it all the same, the
    fleets seen and wanted of each driver concerned, the changes that are in it only by an approval, those that only
    rows with dates ask for, the fingerprints of rows (`plan_digest.row_fingerprint`), and whether it may not cover
    everything.
    """
    drivers = {
        driver: {"seen": sorted(each.seen), "wanted": sorted(each.wanted)}
        for driver, each in sorted(guarded.concerned.items())
    }
    changes = tuple(sorted((*guarded.changes, *(hold.change for hold in guarded.held)), key=lambda each: each.order))
    return {
        **plan_document(guarded),
        "approval": guarded.approval,
        "approved": [_held_document(each) for each in guarded.approved],
        "dated": [change_document(each) for each in changes if each in guarded.dated],
        "fleets": {
            fleet: {"mode": mode.value, **({"listed_unmanaged": True} if fleet in guarded.listed_unmanaged else {})}
            for fleet, mode in sorted(guarded.modes.items())
        },
        "drivers": drivers,
        "rows": {f"{change.driver}/{change.fleet}": change.row for change in changes if change.row},
        "unsettled": guarded.unsettled,
    }


def outcome_document(each: Outcome) -> Document:
    """Return an outcome. Every field is present, and null if it does not apply."""
    details: tuple[int, str | None, str | None, str | None]
    match each:
        case Applied() | Already():
            details = (each.attempts, each.request_id, None, each.message or None)
        case Refused() | Deferred() | Unknown():
            details = (each.attempts, each.request_id, each.code, each.message)
        case Stale():
            details = (0, None, None, each.message)
        case _:
            assert_never(each)
    return dict(zip(("outcome", "attempts", "request_id", "code", "message"), (each.name, *details), strict=True))


def past_run_document(past: PastRun) -> Document:
    """Return a recorded run as `history` lists it."""
    return {
        "run": past.run,
        "trigger": past.trigger,
        "started": format_time(past.started),
        "finished": None if past.finished is None else format_time(past.finished),
        "result": past.result,
        "exit_code": past.exit_code,
        "outcomes": {name: past.outcomes.get(name, 0) for name in OUTCOME_NAMES},
        "approval": None if past.approval is None else approval_document(past.approval),
    }


def approval_document(approval: PastApproval) -> Document:
    """Return an approval that a run used up; `approved` is null if the run itself approved."""
    approved = None if approval.approved is None else format_time(approval.approved)
    return {"digest": approval.digest, "by": approval.by or None, "approved": approved}


def past_report_document(
    past: PastRun, changes: Sequence[PastChange], *, plan: Document | None, report: Document | None
) -> Document:
    """Return the report of a recorded run, with the outcomes as they are known now.

    A run that was cut off has no report: its result and exit code are null. `approval` is there if the run used one up.
    """
    recorded = {(each.change.action.value, each.change.driver, each.change.fleet): each for each in changes}
    reported = {(each["action"], each["driver"], each["fleet"]): each for each in (report or {}).get("changes", ())}
    sent = [
        reported[write] if each.outcome is None and write in reported else _past_change(each)
        for write, each in recorded.items()
    ]
    never_sent = [each for write, each in reported.items() if write not in recorded]
    summary = past_run_document(past)
    document = {**(report or _report_of_cut_off_run(plan)), "changes": sorted([*sent, *never_sent], key=_sort_key)}
    return {
        **document,
        **{key: summary[key] for key in ("run", "result", "exit_code", "started", "finished", "outcomes")},
        **({"approval": summary["approval"]} if past.approval else {}),
    }


def past_changes_document(driver: str, changes: Sequence[PastChange], *, names: Mapping[str, str]) -> Document:
    """Return the changes of one driver as `why` lists them."""
    listed = [
        {"run": each.run, "trigger": each.trigger, "recorded": format_time(each.recorded), **_past_change(each)}
        | {"origin": None if each.change.origin is None else str(each.change.origin)}
        for each in changes
    ]
    return {"driver": driver, "changes": listed, "names": dict(names)}


def _sort_key(change: Document) -> tuple[str, str, str]:
    return (change["fleet"], change["action"], change["driver"])


def _past_change(past: PastChange) -> Document:
    return {
        "action": past.change.action.value,
        "driver": past.change.driver,
        "fleet": past.change.fleet,
        "outcome": past.outcome,
        "attempts": past.attempts,
        "request_id": past.request_id,
        "code": past.code,
        "message": past.message,
    }


def _report_of_cut_off_run(plan: Document | None) -> Document:
    traffic = {"reads": None, "writes": None, "retries": None, "rate_limited": None}
    names = {} if plan is None else plan.get("names", {})
    return {"format": REPORT_FORMAT, "plan": plan, "problems": [], "requests": traffic, "error": None, "names": names}


def error_document(each: FleetSyncError) -> Document:
    """Return an error as a report contains it."""
    return {"code": each.code, "message": each.message, "remedy": each.remedy}


def failure_document(each: FleetSyncError) -> Document:
    """Return an error as `fleet-sync/error@1`, for a command that has no report."""
    return {"format": ERROR_FORMAT, "exit_code": each.exit_code, "error": error_document(each)}


def format_time(moment: datetime.datetime) -> str:
    """Return a time as RFC 3339 in UTC with milliseconds, as Charge writes it."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
