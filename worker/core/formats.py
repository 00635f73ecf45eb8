"""Writes plans, reports and errors as JSON documents, as the README documents them.

Invariant: the shape is a contract; fields are only ever added. Neighbours: `digest` names a plan, `cli.plan_file`
reads a saved one back.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from worker.core import digest, errors, outcomes, ports, report, values

REPORT_FORMAT = "fleet-sync/report@1"
ERROR_FORMAT = "fleet-sync/error@1"

Document = Mapping[str, Any]


def plan(judged: values.Judged) -> Document:
    """Write a judged plan as `fleet-sync/plan@1`."""
    attach = sum(change.action is values.Action.ATTACH for change in judged.changes)
    return {
        "format": digest.PLAN_FORMAT,
        "digest": judged.digest,
        "account": {"base_url": judged.account.base_url, "mode": judged.account.mode},
        "created": time(judged.created),
        "sources": [
            {"kind": source.kind, "name": source.name, "revision": source.revision} for source in judged.sources
        ],
        "changes": [change(each) for each in judged.changes],
        "held": [{**change(held.change), "guard": held.guard, "message": held.message} for held in judged.held],
        "problems": [problem(each) for each in judged.problems],
        "summary": {
            "attach": attach,
            "detach": len(judged.changes) - attach,
            "held": len(judged.held),
            "in_sync": judged.in_sync,
            "fleets": judged.fleets,
            "drivers": judged.drivers,
        },
        "cost": {"requests": judged.cost.requests, "seconds": judged.cost.seconds},
    }


def change(each: values.Change) -> Document:
    """Write one change."""
    origin = None if each.origin is None else str(each.origin)
    return {"action": each.action.value, "driver": each.driver, "fleet": each.fleet, "origin": origin}


def problem(each: values.Problem) -> Document:
    """Write one problem."""
    return {"where": each.where, "message": each.message}


def run(finished: report.Report) -> Document:
    """Write a report as `fleet-sync/report@1`. `plan` is null where the run failed before there was one."""
    return {
        "format": REPORT_FORMAT,
        "run": finished.run,
        "result": finished.verdict.value,
        "exit_code": finished.exit_code,
        "started": time(finished.started),
        "finished": time(finished.finished),
        "plan": None if finished.judged is None else plan(finished.judged),
        "outcomes": dict(finished.counts),
        "changes": [result(each) for each in finished.results],
        "problems": [problem(each) for each in finished.problems],
        "requests": {
            "reads": finished.traffic.reads,
            "writes": finished.traffic.writes,
            "retries": finished.traffic.retries,
            "rate_limited": finished.traffic.rate_limited,
        },
        "error": None if finished.error is None else error(finished.error),
    }


def result(each: outcomes.Result) -> Document:
    """Write one change with what came of it."""
    document = {"action": each.change.action.value, "driver": each.change.driver, "fleet": each.change.fleet}
    return {**document, **outcome(each.outcome)}


def outcome(each: outcomes.Outcome) -> Document:
    """Write an outcome; every field is there, null where it does not apply."""
    details: tuple[int, str | None, str | None, str | None]
    match each:
        case outcomes.Applied() | outcomes.Already():
            details = (each.attempts, each.request_id, None, each.message or None)
        case outcomes.Refused() | outcomes.Deferred() | outcomes.Unknown():
            details = (each.attempts, each.request_id, each.code, each.message)
        case outcomes.Stale():
            details = (0, None, None, each.message)
        case _:
            assert_never(each)
    return dict(zip(("outcome", "attempts", "request_id", "code", "message"), (each.name, *details), strict=True))


def past_run(past: ports.PastRun) -> Document:
    """Write a run of the journal as `history` lists it."""
    return {
        "run": past.run,
        "trigger": past.trigger,
        "started": time(past.started),
        "finished": None if past.finished is None else time(past.finished),
        "result": past.result,
        "exit_code": past.exit_code,
        "outcomes": {name: past.outcomes.get(name, 0) for name in outcomes.NAMES},
    }


def past_report(
    past: ports.PastRun, changes: Sequence[ports.PastChange], *, plan: Document | None, report: Document | None
) -> Document:
    """Write the report of a run of the journal.

    A run that was cut off has none of its own: result and exit code are null, and outcomes are those found out since.
    """
    known = {(each.change.action.value, each.change.driver, each.change.fleet): each for each in changes}
    told = {(each["action"], each["driver"], each["fleet"]): each for each in (report or {}).get("changes", ())}
    made = [
        told[write] if each.outcome is None and write in told else _past_change(each) for write, each in known.items()
    ]
    never_sent = [each for write, each in told.items() if write not in known]
    summary = past_run(past)
    document = {**(report or _cut_off(plan)), "changes": sorted([*made, *never_sent], key=_place)}
    return {
        **document,
        **{key: summary[key] for key in ("run", "result", "exit_code", "started", "finished", "outcomes")},
    }


def _place(change: Document) -> tuple[str, str, str]:
    return (change["fleet"], change["action"], change["driver"])


def _past_change(past: ports.PastChange) -> Document:
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


def _cut_off(plan: Document | None) -> Document:
    traffic = {"reads": None, "writes": None, "retries": None, "rate_limited": None}
    return {"format": REPORT_FORMAT, "plan": plan, "problems": [], "requests": traffic, "error": None}


def error(each: errors.FleetSyncError) -> Document:
    """Write an error as a report holds it."""
    return {"code": each.code, "message": each.message, "remedy": each.remedy}


def failure(each: errors.FleetSyncError) -> Document:
    """Write an error as `fleet-sync/error@1`, for a command that has no report."""
    return {"format": ERROR_FORMAT, "exit_code": each.exit_code, "error": error(each)}


def time(moment: datetime.datetime) -> str:
    """Write a moment as RFC 3339 in UTC with milliseconds, as Charge does."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
