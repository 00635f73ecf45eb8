"""Formats journal records as text: past runs, one run, one driver's changes, the audit trail.

Invariant: a run or a change takes one line and starts with its time or its sign. Neighbours: `render` formats plans and
reports, `context` fits lines to a terminal.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from worker.cli import layout, render
from worker.core.model.people import annotate
from worker.core.model.plan import Action
from worker.core.model.ports import PastApproval, PastChange, PastRun
from worker.core.monitoring import humanize, reasons
from worker.core.planning import undo
from worker.core.safety import guard

_VERBS = {Action.ATTACH: "attached to", Action.DETACH: "detached from"}

Names = Mapping[str, str]


_MOST_NAMES = 2
_OPEN = "outcome not known yet"


def history(runs: Sequence[tuple[PastRun, Names]]) -> str:
    """Return a record for each run, with the names of drivers whom it changed."""
    if not runs:
        return "The journal has no runs yet."
    return "\n".join(_run_line(run) + _people(names) for run, names in runs)


def run(
    past: PastRun,
    changes: Sequence[PastChange],
    *,
    plan: Mapping[str, Any] | None,
    report: Mapping[str, Any] | None,
    names: Names,
) -> str:
    """Return one run with its sources, changes, held changes, problems and error."""
    lines = [_run_line(past)]
    if past.approval is not None:
        lines.append(f"  {_approval(past.approval)}")
    for source in (plan or {}).get("sources", ()):
        rows, proof = humanize.count(source["rows"], "row"), layout.printable(source["proof"])
        lines.append(f"  source {layout.printable(source['name'])}  {source['revision']}  {rows}, proof {proof}")
    again = _sent_again(changes, report or {}, names)
    lines.extend(f"  {line}" for line in (*_changes(changes, names), *again, *_held(plan or {}, names)))
    problems = [*(plan or {}).get("problems", ()), *(report or {}).get("problems", ())]
    for each in sorted(problems, key=lambda problem: bool(problem["note"])):
        text = layout.printable(annotate(f"{each['where']}: {each['message']}", names))
        lines.append(f"  {'note' if each['note'] else 'problem'}: {text}")
    if report and report.get("error"):
        message = layout.printable(annotate(report["error"]["message"], names))
        lines.append(f"  error: {message}")
    return "\n".join(lines)


def _held(plan: Mapping[str, Any], names: Names) -> Iterator[str]:
    """Yield why changes were held, each reason once, and below it the changes."""
    held = plan.get("held", ())
    groups = reasons.group(held, reason=lambda each: (each["guard"], each["message"]), fleet=lambda each: each["fleet"])
    explained = {group.reason for group in groups}
    for each in plan.get("shrunk", ()):
        if (guard.SOURCE_SHRANK, each["message"]) not in explained:
            yield f"held: {layout.printable(each['message'])} ({guard.SOURCE_SHRANK})"
    for group in groups:
        code, message = group.reason
        yield _reason("held", message, code, names)
        for fleet, changes in group.fleets.items():
            yield f"  {_named(fleet, names)}"
            yield from (
                f"    {render.signed(Action(each['action']), _named(each['driver'], names))}" for each in changes
            )


def _sent_again(changes: Sequence[PastChange], report: Mapping[str, Any], names: Names) -> Iterator[str]:
    """Yield what the run sent again for an earlier run, with which the journal keeps it."""
    own = {each.change for each in changes}
    for change in sorted(undo.reported(report) - own, key=lambda each: each.order):
        what = f"{_VERBS[change.action]} {_named(change.fleet, names)}"
        yield f"{render.signed(change.action, _named(change.driver, names))}  {what}  sent again for an earlier run"


def _changes(changes: Sequence[PastChange], names: Names) -> Iterator[str]:
    """Yield the changes, and last those with a message below their message."""
    yield from (_change(each, names) for each in changes if not each.message)
    groups = reasons.group(
        (each for each in changes if each.message),
        reason=lambda each: (each.outcome or _OPEN, each.message or "", each.code or ""),
        fleet=lambda each: each.change.fleet,
    )
    for group in groups:
        yield _reason(*group.reason, names)
        for fleet, listed in group.fleets.items():
            yield f"  {_named(fleet, names)}"
            for each in listed:
                driver = render.signed(each.change.action, _named(each.change.driver, names))
                yield f"    {driver}  {_details(each, reason=False)}"


def _reason(outcome: str, message: str, code: str, names: Names) -> str:
    reason = f"{outcome}: {layout.printable(annotate(message, names))}"
    return f"{reason} ({layout.printable(code)})" if code else reason


def audited(past: PastRun, changes: Sequence[PastChange], *, names: Names) -> str:
    """Return one run of a stream with its changes: when, who and what comes first, what is looked up comes last."""
    lines = [_run_line(past)]
    if past.approval is not None:
        lines.append(f"  {_approval(past.approval)}")
    lines.extend(f"  {_audited(each, names)}" for each in changes)
    return "\n".join(lines)


def _audited(past: PastChange, names: Names) -> str:
    driver, fleet = past.change.driver, past.change.fleet
    ids = [click.style(id, dim=True) for id in (driver, fleet) if names.get(id)]
    what = render.signed(past.change.action, layout.printable(names.get(driver) or driver))
    where = f"{_VERBS[past.change.action]} {layout.printable(names.get(fleet) or fleet)}"
    message = layout.printable(annotate(past.message or "", names))
    return "  ".join(filter(None, [_timestamp(past.recorded), what, where, _details(past), message, *ids]))


def why(driver: str, changes: Sequence[PastChange], *, names: Names) -> str:
    """Return a driver, and a record for each change, in the given order."""
    lines = [_why(each, names) for each in changes] or ["The journal has no such change."]
    return "\n".join([click.style(_named(driver, names), bold=True), *lines])


def _run_line(past: PastRun) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in past.outcomes.items() if count)
    result = past.result or "not finished"
    approved = ""
    if past.approval is not None:
        approved = f", approved by {_approver(past.approval)}" if past.approval.by else ", approved"
    counted = f": {counts}" if counts else ""
    return f"{_timestamp(past.started)}  {past.run}  {past.trigger:<8}  {result}{counted}{approved}"


def _people(names: Names) -> str:
    shown = [layout.printable(name) for name in sorted(names.values(), key=str.casefold)]
    more = " and others" if len(shown) > _MOST_NAMES else ""
    return f"  {', '.join(shown[:_MOST_NAMES])}{more}" if shown else ""


def _approval(approval: PastApproval) -> str:
    if approval.approved is None:
        return f"approved with the run itself: {approval.digest}"
    by = f" by {_approver(approval)}" if approval.by else ""
    return f"approved{by} at {_timestamp(approval.approved)}: {approval.digest}"


def _approver(approval: PastApproval) -> str:
    return layout.printable(approval.by)


def _change(past: PastChange, names: Names) -> str:
    driver = render.signed(past.change.action, _named(past.change.driver, names))
    return f"{driver}  {_verb(past, names)}  {_details(past)}"


def _why(past: PastChange, names: Names) -> str:
    what = f"{render.signed(past.change.action, _verb(past, names))}  {_details(past)}"
    return f"{_timestamp(past.recorded)}  {what}  {past.run} ({past.trigger})"


def _verb(past: PastChange, names: Names) -> str:
    return f"{_VERBS[past.change.action]} {_named(past.change.fleet, names)}"


def _details(past: PastChange, *, reason: bool = True) -> str:
    """Return what became of a change; without the `reason`, what its heading does not say."""
    details = (
        (past.outcome or _OPEN) if reason else "",
        humanize.count(past.attempts, "attempt"),
        layout.printable(past.request_id or ""),
        layout.printable(past.code or "") if reason else "",
    )
    origin = f"  {layout.printable(str(past.change.origin))}" if past.change.origin else ""
    return ", ".join(filter(None, details)) + origin


def _named(id: str, names: Names) -> str:
    return f"{layout.printable(names[id])} {click.style(id, dim=True)}" if names.get(id) else id


def _timestamp(moment: datetime.datetime) -> str:
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}Z"
