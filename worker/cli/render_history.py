"""Formats journal records as text: past runs, one run, one driver's changes.

Invariant: a run or a change takes one line and starts with its time. Neighbours: `render` formats plans and reports.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import click

from worker.cli import render
from worker.core.model.plan import Action
from worker.core.model.ports import PastChange, PastRun

_VERBS = {Action.ATTACH: "attached to", Action.DETACH: "detached from"}


def history(runs: Sequence[PastRun]) -> str:
    """Return a line for each run."""
    if not runs:
        return "The journal has no runs yet."
    return "\n".join(_run_line(run) for run in runs)


def run(
    past: PastRun,
    changes: Sequence[PastChange],
    *,
    plan: Mapping[str, Any] | None,
    report: Mapping[str, Any] | None,
) -> str:
    """Return one run with its sources, changes, held changes and error."""
    lines = [_run_line(past)]
    lines.extend(
        f"  source {render.printable(source['name'])}  {source['revision']}"
        for source in (plan or {}).get("sources", ())
    )
    lines.extend(f"  {_change(change)}" for change in changes)
    held = (plan or {}).get("held", ())
    lines.extend(f"  held: {each['action']} {each['driver']} {each['fleet']} ({each['guard']})" for each in held)
    if report and report.get("error"):
        lines.append(f"  error: {render.printable(report['error']['message'])}")
    return "\n".join(lines)


def why(changes: Sequence[PastChange]) -> str:
    """Return a line for each change of a driver, in the given order."""
    return "\n".join(f"{_timestamp(each.recorded)}  {_change(each)}  {each.run} ({each.trigger})" for each in changes)


def _run_line(past: PastRun) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in past.outcomes.items() if count)
    result = past.result or "not finished"
    return f"{_timestamp(past.started)}  {past.run}  {past.trigger:<8}  {result}{f': {counts}' if counts else ''}"


def _change(past: PastChange) -> str:
    change = past.change
    sign, color = render.SIGNS[change.action]
    origin = f"  {render.printable(str(change.origin))}" if change.origin else ""
    details = ", ".join(
        part
        for part in (
            past.outcome or "outcome not known yet",
            f"{past.attempts} attempts" if past.attempts != 1 else "1 attempt",
            render.printable(past.request_id or ""),
            render.printable(past.code or ""),
        )
        if part
    )
    return f"{click.style(sign, fg=color)} {change.driver} {_VERBS[change.action]} {change.fleet}  {details}{origin}"


def _timestamp(moment: datetime.datetime) -> str:
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}Z"
