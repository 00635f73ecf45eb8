"""Judges the state of whole drivers at the end of a run: no driver is stranded unless the run says so.

Invariant: a run is judged by what it could know; changes by others after its last look at a driver excuse it.
Neighbours: `simulated_process` asks after every report, `audit` has what the run was told.
"""

from collections.abc import Callable

from tests.simulation import audit, expected_state
from worker.core.model.desired import Mode
from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import Already, Applied
from worker.core.model.problem import ProblemCode
from worker.core.model.report import Report

_SETTLED = ("converged", "in_sync")


def nobody_stranded(
    seen: audit.Audit,
    account: audit.RecordedState,
    run: audit.Run,
    run_report: Report,
    *,
    recent: Callable[[], list[expected_state.Expected]],
) -> None:
    """Judge whether every driver in no fleet, whom all recent documents want somewhere, is named by the report.

    `recent` returns what each version of the documents of the last hour asks for.
    """
    affected = {effect.pair[0] for effect in seen.effects if effect.key in {key for _, _, key in run.writes}}
    candidates = [driver for driver in sorted(account.drivers) if not account.fleets_of(driver)]
    if run_report.error is not None or run.deceived:
        candidates = [driver for driver in candidates if driver in affected]
    if not candidates:
        return
    versions = [{driver for driver, _ in expected.wanted} for expected in recent()]
    for driver in candidates:
        if driver in run.missing or not versions or not all(driver in wanted for wanted in versions):
            continue
        # A stop drops what is being read back; what the run knew while it wrote counts.
        latest = run.latest_while_writing(driver) if _not_read_back(run_report) else run.latest.get(driver)
        since = latest.order if latest else run.began
        if run.planned and since > run.planned_at and not run.written.get(driver):
            since = run.began  # what a run reads after planning is for those that it writes to
        if seen.driver_changed_by_others(driver, since, host=run.host):
            continue
        if not _says_so(run_report, driver, names=_names_of(account, driver)):
            what = f"{audit.short(driver)} is in no fleet after {run.name} ({run_report.result}), which does not say so"
            seen.violated("state", what)


def _names_of(account: audit.RecordedState, driver: str) -> tuple[str, ...]:
    """Return how a report may refer to a driver."""
    record = account.drivers[driver]
    return driver, record.email.lower(), *(f"{key}={value}" for key, value in record.metadata.items())


def _not_read_back(run_report: Report) -> bool:
    """Return whether a run was ended, and says that it could not read back what it changed."""
    codes = {problem.code for problem in run_report.problems}
    return run_report.error is not None and ProblemCode.NOT_READ_BACK in codes


def _says_so(run_report: Report, driver: str, *, names: tuple[str, ...]) -> bool:
    """Return whether a report admits that a driver may not be where the sources want."""
    return run_report.result not in _SETTLED and _names(run_report, driver, names=names)


def _names(run_report: Report, driver: str, *, names: tuple[str, ...]) -> bool:
    """Return whether a report names a driver in a problem, or as a change that was not made."""
    guarded = run_report.guarded
    problems = [*run_report.problems, *(guarded.problems if guarded else ())]
    changes = [result.change for result in run_report.results if not isinstance(result.outcome, Applied | Already)]
    changes += [held.change for held in guarded.held] if guarded else []
    return any(change.driver == driver for change in changes) or any(
        name in str(problem) for problem in problems for name in names
    )


def converged(seen: audit.Audit, run: audit.Run, run_report: Report, *, has_grace: bool) -> None:
    """Judge whether a converged run knows that each driver it wrote to is where the sources want.

    The newest answer to a GET or a write after the last write to the driver must contradict nothing that they want. A
    list excuses no such answer, because a run cannot know how far lists lag; but if it shows a later state, that must
    contradict nothing either. With a grace period, a driver may still be where the sources do not want the driver.
    """
    if run_report.result not in _SETTLED:
        return
    done = [result.change for result in run_report.results if result.done]
    for driver in sorted({pair[0] for _, pair, _ in run.writes}):
        known = run.expectations and not run.deceived
        wanted = _wanted(run, driver) if known else set[str]()
        forbidden = _forbidden(run, driver) if known and not has_grace else set[str]()
        for answer in run.newest_after_writing(driver):
            for change in done:
                if str(change.driver) == driver and not change.done_in(frozenset(map(FleetId, answer.fleets))):
                    what = f"contradicts {change.action} {audit.short(driver)} {audit.short(change.fleet)}"
                    seen.violated("converged", f"{run.name} has converged, but the newest answer {what}")
            if not wanted <= answer.fleets:
                missing = " ".join(sorted(map(audit.short, wanted - answer.fleets)))
                what = f"shows {audit.short(driver)} not in {missing}"
                seen.violated("converged", f"{run.name} has converged, but the newest answer {what}")
            if unwanted := forbidden & answer.fleets:
                what = f"shows {audit.short(driver)} in {' '.join(sorted(map(audit.short, unwanted)))}"
                seen.violated("converged", f"{run.name} has converged, but the newest answer {what}")


def _wanted(run: audit.Run, driver: str) -> set[str]:
    """Return the fleets in which the sources of a run want a driver, whatever they may mean."""
    per_version = [{fleet for who, fleet in each.wanted if who == driver} for each in run.expectations]
    return set.intersection(*per_version) if per_version else set()


def _forbidden(run: audit.Run, driver: str) -> set[str]:
    """Return the fleets in which the sources of a run do not want a driver, whatever they may mean."""
    per_version = [
        {
            fleet
            for fleet, mode in each.modes.items()
            if mode is Mode.EXACT and fleet not in each.unclear and (driver, fleet) not in each.possible
        }
        for each in run.expectations
        if driver not in each.waiting
    ]
    return set.intersection(*per_version) if len(per_version) == len(run.expectations) else set()
