"""Formats plans and reports as text: changes by fleet, names beside ids, and what to do next.

Invariant: text from Charge or a document cannot control the terminal, because only printable characters are written.
Neighbours: `core.model.serialization` writes the same as JSON.
"""

import itertools
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import click

from worker.cli import command_line, layout
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import ChangeResult, Deferred
from worker.core.model.people import annotate
from worker.core.model.plan import Action, Change, GuardedPlan, HeldChange
from worker.core.model.problem import Problem
from worker.core.model.report import Report, RunResult
from worker.core.monitoring import humanize, reasons
from worker.core.safety import fleet_selection, guard, refusal_backoff
from worker.engine import plan_builder

SIGNS = {Action.ATTACH: ("+", "green"), Action.DETACH: ("-", "red")}


def plan(plan_result: plan_builder.PlanResult, *, rate: float, fleets: Sequence[str] = ()) -> str:
    """Return a guarded plan as text; `rate` is the configured limit in requests per second.

    `fleets` are those of `--fleet`.
    """
    guarded = plan_result.guarded
    how_to_approve = (
        (
            "If this is what you want, approve exactly this plan. In a job:",
            f"  {approving(guarded, ())}",
            "With a running service:",
            _command("approve", guarded.held_digest),
        )
        if not fleets
        else (NOT_FOR_SOME_FLEETS,)
        if guarded.shrunk
        else ("If this is what you want, approve exactly these changes:", f"  {approving(guarded, fleets)}")
    )
    return _plan(plan_result, rate=rate, how_to_approve=how_to_approve, total=summary(guarded))


NOT_FOR_SOME_FLEETS = "Detaches of a source that lost rows can only be approved together: leave --fleet out."
"""A run that leaves fleets out does not accept the new size of the source."""


def approving(guarded: GuardedPlan, fleets: Sequence[str]) -> str:
    """Return the command that approves what is held in these fleets, or in all; a service knows no single fleets."""
    only = (part for each in fleets for part in ("--fleet", each))
    return layout.printable(command_line.command("once", *only, "--approve", guarded.held_digest))


def _command(name: str, *arguments: str) -> str:
    return f"  {layout.printable(command_line.command(name, *arguments))}"


def inverse(plan_result: plan_builder.PlanResult, *, run: str, rate: float, out: str = "FILE") -> str:
    """Return the inverse plan of a run as text; `out` is the file that it is saved to."""
    guarded = plan_result.guarded
    how_to_approve = (
        "If this is what you want, approve exactly this plan with",
        _command("approve", guarded.held_digest),
        _command("undo", run, "--out", out),
    )
    total = f"Plan: {_counts(guarded)}." if guarded.changes or guarded.held else "Nothing to undo."
    return _plan(plan_result, rate=rate, how_to_approve=how_to_approve, total=total)


def held_of_saved(plan_result: plan_builder.PlanResult, *, again: Sequence[str]) -> str:
    """Return what is held of a saved plan, as text. `again` are the arguments of `apply`."""
    guarded = plan_result.guarded
    how_to_approve = (
        "If this is what you want, approve exactly these changes and apply the plan again:",
        _command("approve", guarded.held_digest),
        _command("apply", *again),
    )
    names = _Names(guarded.names, {held.change.driver for held in guarded.held}, plan_result.actual.inactive)
    return "\n".join(_held(guarded, names, how_to_approve=how_to_approve))


def _plan(plan_result: plan_builder.PlanResult, *, rate: float, how_to_approve: Iterable[str], total: str) -> str:
    guarded = plan_result.guarded
    shown = (*guarded.changes, *(held.change for held in guarded.held))
    names = _Names(guarded.names, {change.driver for change in shown}, plan_result.actual.inactive)
    lines = [
        *_by_fleet(guarded.changes, names),
        *_held(guarded, names, how_to_approve=how_to_approve),
        *_problems(guarded.relevant_problems, names),
        total,
    ]
    if guarded.changes:
        requests, duration = guarded.cost.requests, _duration(guarded.cost.seconds)
        lines.append(f"This takes about {requests} requests, {duration} at {rate:g} per second.")
    return "\n".join(lines)


def result(run_report: Report) -> str:
    """Return the result of a run as text."""
    failed = {each.change.driver for each in run_report.results if not each.done}
    names = _Names(run_report.guarded.names if run_report.guarded else {}, failed)
    lines = [*_failures(run_report.results, names), *_problems(run_report.problems, names)]
    if run_report.guarded is not None and run_report.results:
        counts = ", ".join(f"{count} {name}" for name, count in run_report.counts.items() if count)
        lines.append(f"{_headline(run_report)}: {counts}, in {_duration(_seconds(run_report))}.")
    elif run_report.guarded is not None:
        lines.append(f"{_headline(run_report)}.")
    traffic = run_report.traffic
    lines.append(
        f"{humanize.count(traffic.reads, 'read')}, {humanize.count(traffic.writes, 'write')}; "
        f"{traffic.retries} retried, {traffic.rate_limited} rate limited."
    )
    return "\n".join(lines)


_RESULTS = {
    RunResult.IN_SYNC: "Nothing was changed",
    RunResult.CONVERGED: "Converged",
    RunResult.OBSERVED: "Nothing was changed: `[sync] apply` is false",
    RunResult.HELD: "Held: some {} wait for approval",
    RunResult.PAUSED: "Done, except for paused fleets",
    RunResult.PARTIAL: "Not everything could be done",
    RunResult.FAILED: "Failed",
}


def _headline(run_report: Report) -> str:
    guarded = run_report.guarded
    if run_report.result is RunResult.HELD and guarded and not guarded.held:
        return "Held: a source that lost rows waits for approval"
    if run_report.result is RunResult.PAUSED and not run_report.results:
        return "Paused: nothing was written"
    return _RESULTS[run_report.result].format(kind(guarded.held if guarded else ())[1])


_LONGEST_NAME = 24
"""Columns. Longer names are shown in full, but the column of ids does not move for them."""


class _Names:
    """Shows drivers and fleets with their names and ids, and with their status if it is not active.

    The ids of drivers are in one column, behind the names.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        shown: Iterable[DriverId] = (),
        inactive: Mapping[str, str] = types.MappingProxyType({}),
    ) -> None:
        self._names = names
        self._inactive = inactive
        widths = [layout.cells(self.name(driver)) for driver in shown]
        self._width = max((width for width in widths if width <= _LONGEST_NAME), default=0)

    def name(self, id: str) -> str:
        return layout.printable(self._names.get(id, ""))

    def annotate(self, text: str) -> str:
        """Return a text from outside, with names before ids."""
        return layout.printable(annotate(text, self._names))

    def fleet(self, fleet: FleetId) -> str:
        name = self.name(fleet)
        return (f"{name}  {_dim(fleet)}" if name else fleet) + self._status(fleet)

    def driver(self, driver: DriverId) -> str:
        name = self.name(driver)
        column = f"{name}{' ' * (self._width - layout.cells(name))}  " if self._width or name else ""
        return column + driver + self._status(driver)

    def _status(self, id: str) -> str:
        return f"  ({layout.printable(self._inactive[id])})" if id in self._inactive else ""


def _by_fleet(changes: Iterable[Change], names: _Names) -> Iterator[str]:
    for fleet, group in itertools.groupby(changes, key=lambda change: change.fleet):
        yield click.style(names.fleet(fleet), bold=True)
        for change in group:
            yield _change(change, names)
        yield ""


def _change(change: Change, names: _Names) -> str:
    origin = "" if change.origin is None else f"  {_dim(layout.printable(str(change.origin)))}"
    return f"  {signed(change.action, names.driver(change.driver))}{origin}"


def signed(action: Action, text: str) -> str:
    """Return a text behind the sign of what is done."""
    sign, color = SIGNS[action]
    return f"{click.style(sign, fg=color)} {text}"


def _held(guarded: GuardedPlan, names: _Names, *, how_to_approve: Iterable[str]) -> Iterator[str]:
    if not guarded.needs_approval:
        return
    yield click.style(f"Held back: {held_back(guarded)}", fg="yellow", bold=True)
    groups = reasons.group(guarded.held, reason=lambda each: each.message, fleet=lambda each: each.change.fleet)
    explained = {group.reason for group in groups}
    yield from (layout.printable(each.message) for each in guarded.shrunk if each.message not in explained)
    for group in groups:
        changes = {fleet: [_change(each.change, names) for each in held] for fleet, held in group.fleets.items()}
        yield from by_fleet(names.annotate(group.reason), {names.fleet(fleet): rows for fleet, rows in changes.items()})
    if guarded.shrunk or any(held.guard != guard.MUST_SEE for held in guarded.held):
        yield from how_to_approve
    yield ""


def by_fleet(reason: str, rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a reason once, and below it the rows of each fleet. A single fleet is named on the line of the reason."""
    if len(rows) == 1:
        [(fleet, listed)] = rows.items()
        yield f"{fleet}: {reason}"
        yield from listed
        return
    yield reason
    for fleet, listed in rows.items():
        yield f"  {fleet}"
        yield from (f"  {row}" for row in listed)


def held_back(guarded: GuardedPlan) -> str:
    """Return how many changes a plan holds; if it has none, a source that shrank holds those that may follow."""
    return humanize.count(len(guarded.held), *kind(guarded.held)) if guarded.held else "all further detaches"


def kind(held: Iterable[HeldChange]) -> tuple[str, str]:
    """Return the singular and the plural of what is held: detaches, or changes if any attaches."""
    return ("change", "changes") if any(_attaches(each.change) for each in held) else ("detach", "detaches")


def _problems(problems: Collection[Problem], names: _Names) -> Iterator[str]:
    """Yield the problems, and below them the notes, which need no action."""
    titles = {False: click.style("Problems", fg="yellow", bold=True), True: click.style("Notes", bold=True)}
    for is_note, title in titles.items():
        lines = [f"  {names.annotate(str(problem))}" for problem in problems if problem.note is is_note]
        if lines:
            yield from (title, *lines, "")


def _failures(results: Iterable[ChangeResult], names: _Names) -> Iterator[str]:
    """Yield the changes that were not made by their reason, with the request id that Charge's support asks for."""
    failed = [each for each in results if not each.done]
    if failed:
        yield click.style("Not made", fg="red", bold=True)
    for group in reasons.group(failed, reason=_reason, fleet=lambda each: each.change.fleet):
        name, message, code = group.reason
        reason = f"{name}: {names.annotate(message)}" + (f" ({layout.printable(code)})" if code else "")
        listed = {fleet: [_failure(each, names) for each in results] for fleet, results in group.fleets.items()}
        yield from by_fleet(reason, {names.fleet(fleet): rows for fleet, rows in listed.items()})
    if failed:
        yield ""


def _reason(result: ChangeResult) -> tuple[str, str, str]:
    match result.outcome:
        case Deferred() as waiting:
            return (waiting.name, refusal_backoff.shared_message(waiting), waiting.code)
        case outcome:
            return (outcome.name, outcome.message, getattr(outcome, "code", ""))


def _failure(result: ChangeResult, names: _Names) -> str:
    """Return a change with what its reason does not say: Charge's request id, or when it is tried again."""
    detail = getattr(result.outcome, "request_id", None) or ""
    if isinstance(result.outcome, Deferred) and (earlier := refusal_backoff.earlier_refusal(result.outcome)):
        detail = f"tried again at {earlier[1]:%Y-%m-%d %H:%M} UTC"
    row = signed(result.change.action, names.driver(result.change.driver))
    return f"  {row}" + (f"  {layout.printable(detail)}" if detail else "")


def summary(guarded: GuardedPlan) -> str:
    """Return what a plan amounts to, as one line."""
    where = f"{humanize.count(guarded.in_sync, 'membership')} in {humanize.count(guarded.fleets, 'fleet')}"
    if not guarded.changes and not guarded.held:
        is_partial = guarded.unsettled or any(each.where == fleet_selection.WHERE for each in guarded.problems)
        return f"Nothing to do: {where} already in sync." if is_partial else f"In sync: {where}."
    return f"Plan: {_counts(guarded)}; {where} already in sync."


def _counts(guarded: GuardedPlan) -> str:
    attach = sum(_attaches(change) for change in guarded.changes)
    return f"{attach} to attach, {len(guarded.changes) - attach} to detach, {len(guarded.held)} held"


def _attaches(change: Change) -> bool:
    return change.action is Action.ATTACH


def _seconds(run_report: Report) -> float:
    return (run_report.finished - run_report.started).total_seconds()


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _dim(text: str) -> str:
    return click.style(text, dim=True)
