"""Writes what the journal holds for people: past runs, one run, one driver's changes.

Invariant: one line a run or a change, the time first. Neighbours: `render` writes plans and reports.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import click

from worker.cli import render
from worker.core.model.plan import Action
from worker.core.model.ports import PastChange, PastRun

_WORDS = {Action.ATTACH: "attached to", Action.DETACH: "detached from"}


def history(runs: Sequence[PastRun]) -> str:
    """Write past runs as a table."""
    if not runs:
        return "No run is in the journal yet."
    return "\n".join(_run_line(run) for run in runs)


def run(
    past: PastRun,
    changes: Sequence[PastChange],
    *,
    plan: Mapping[str, Any] | None,
    report: Mapping[str, Any] | None,
) -> str:
    """Write one run with each of its changes, and what it held back."""
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
    """Write one driver's changes, the oldest first."""
    return "\n".join(f"{_moment(each.recorded)}  {_change(each)}  {each.run} ({each.trigger})" for each in changes)


def _run_line(past: PastRun) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in past.outcomes.items() if count)
    result = past.result or "not finished"
    return f"{_moment(past.started)}  {past.run}  {past.trigger:<8}  {result}{f': {counts}' if counts else ''}"


def _change(past: PastChange) -> str:
    change = past.change
    sign, colour = render.SIGNS[change.action]
    origin = f"  {render.printable(str(change.origin))}" if change.origin else ""
    about = ", ".join(
        part
        for part in (
            past.outcome or "outcome not known yet",
            f"{past.attempts} attempts" if past.attempts != 1 else "1 attempt",
            render.printable(past.request_id or ""),
            render.printable(past.code or ""),
        )
        if part
    )
    return f"{click.style(sign, fg=colour)} {change.driver} {_WORDS[change.action]} {change.fleet}  {about}{origin}"


def _moment(moment: datetime.datetime) -> str:
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}Z"
