"""`fleet-sync once`: one reconciliation, as a job runs it.

Invariant: the plan that is printed is the plan that is applied. Neighbours: `engine.reconciler` does the work, `render`
formats plan and result.
"""

import functools
import pathlib
import stat
from typing import TYPE_CHECKING

import click

from worker.cli import approve, context, help_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.core.model.identifiers import RunId
    from worker.core.model.report import Report
    from worker.engine import plan_builder
    from worker.notifications import webhook
    from worker.service import composition, state

_ONCE_EXAMPLES = """\
fleet-sync once
fleet-sync once --approve sha256:DIGEST
fleet-sync once --json > report.json
fleet-sync once --metrics-file /var/lib/node-exporter/fleet-sync.prom"""


@click.command(cls=help_page.Command, epilog=_ONCE_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.option(
    "--approve",
    "approved",
    type=approve.Digest(),
    metavar="DIGEST",
    help="Approve the held changes that have exactly this digest.",
)
@context.only_fleets
@click.option(
    "--metrics-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="Write metrics for Prometheus' textfile collector.",
)
@context.adopt_journal
@click.pass_obj
def once(
    command_context: context.CommandContext,
    as_json: bool,
    approved: str | None,
    fleets: tuple[str, ...],
    metrics_file: pathlib.Path | None,
    adopt: bool,
) -> int:
    """Reconcile once: read, plan, check against the guard, apply, verify and report."""
    from worker.settings import loader

    if metrics_file is not None and not loader.is_folder(metrics_file.parent):
        raise click.BadParameter(f"{metrics_file.parent} is not a folder", param_hint="--metrics-file")
    if metrics_file is not None and _is_special(metrics_file):  # a file would take its place
        raise click.BadParameter(f"{metrics_file} is not a regular file", param_hint="--metrics-file")
    work = functools.partial(_once, as_json=as_json, approved=approved, fleets=fleets, metrics=metrics_file)
    return command_context.with_account(work, as_json=as_json, adopt=adopt, writes=True)


def _is_special(path: pathlib.Path) -> bool:
    """Return whether there is a device, a pipe or a socket at a path."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # there is nothing, or writing it says why
        return False


async def _once(
    account: "composition.AccountRuntime",
    *,
    as_json: bool,
    approved: str | None,
    fleets: tuple[str, ...],
    metrics: pathlib.Path | None,
) -> int:
    from worker.service import composition

    hooks = _hooks(account)
    account.select_fleets(fleets)
    run = composition.new_run()
    job = _begun(run) if hooks or metrics is not None else None

    def show(plan_result: "plan_builder.PlanResult") -> None:
        if job:
            job.planned(plan_result)
        if not as_json:
            _print_plan(plan_result, rate=account.rules.requests_per_second, fleets=fleets)

    run_report = await account.new_reconciler(run=run, show=show).reconcile(trigger="once", approved=approved)
    written = 0
    try:
        if _approval_missed(run_report, approved):
            context.print_text("The approved digest is not that of the held changes: none was allowed.", err=True)
        code = context.print_report(run_report, as_json=as_json)
    finally:  # notifications and metrics must not depend on whether the output could be printed
        if job is not None:
            job.end(run_report)
            await account.process_shutdown.unless_aborted(functools.partial(_notify, account, job, hooks))
            written = 0 if metrics is None else await _write_metrics(metrics, account, job, run_report)
    return written or code


def _begun(run: "RunId") -> "state.ServiceState":
    """Return the state of a job, which only notifications and metrics need: to import it takes as long as a run."""
    from worker.service import composition, state

    job = state.ServiceState(clock=composition.SystemClock())
    job.begin(run, trigger="once")
    return job


async def _notify(
    account: "composition.AccountRuntime", job: "state.ServiceState", hooks: "Sequence[webhook.Webhook]"
) -> None:
    from worker.service import job_notifications

    await job_notifications.notify(job.snapshot(account), account.record, hooks)


def _hooks(account: "composition.AccountRuntime") -> "list[webhook.Webhook]":
    from worker import logs
    from worker.settings import secrets

    targets = secrets.notification_targets(account.settings)
    if not targets:
        return []
    from worker.service import job_notifications

    logs.hide(*(secret for target in targets for secret in target.secrets()))
    return [job_notifications.hook(target) for target in targets]


async def _write_metrics(
    path: pathlib.Path, account: "composition.AccountRuntime", job: "state.ServiceState", run_report: "Report"
) -> int:
    """Write the metrics. Return 0, or 1 after an error message: no alert may rely on an old file."""
    from worker.cli import metrics_file

    try:
        await metrics_file.write(path, account, job, run_report)
    except OSError as error:
        context.print_text(f"error: {path} cannot be written: {error.strerror}", err=True)
        return 1
    return 0


def _print_plan(plan_result: "plan_builder.PlanResult", *, rate: float, fleets: tuple[str, ...]) -> None:
    from worker.cli import render

    try:
        context.print_text(render.plan(plan_result, rate=rate, fleets=fleets))
    except OSError as error:
        # A BrokenPipeError must not pass as one: `main` ignores that silently, but here a run is given up.
        raise OSError(f"{error.strerror}; nothing was changed") from error


def _approval_missed(run_report: "Report", approved: str | None) -> bool:
    guarded = run_report.guarded
    return (
        approved is not None and guarded is not None and guarded.needs_approval and run_report.held_digest != approved
    )
