"""`fleet-sync once`: one reconciliation, as a job runs it.

Invariant: the plan that is printed is the plan that is applied. Neighbours: `engine.reconciler` does the work, `render`
formats plan and result.
"""

import functools
from typing import TYPE_CHECKING

import click

from worker.cli import approve, context, help_page

if TYPE_CHECKING:
    from worker.core.model.report import Report
    from worker.engine import plan_builder
    from worker.service import composition

_ONCE_EXAMPLES = """\
fleet-sync once
fleet-sync once --approve sha256:DIGEST
fleet-sync once --json > report.json"""


@click.command(cls=help_page.Command, epilog=_ONCE_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.option(
    "--approve",
    "approved",
    type=approve.Digest(),
    metavar="DIGEST",
    help="Approve the held changes if the plan has exactly this digest.",
)
@context.adopt_journal
@click.pass_obj
def once(command_context: context.CommandContext, as_json: bool, approved: str | None, adopt: bool) -> int:
    """Reconcile once: read, plan, check against the guard, apply, verify and report."""
    work = functools.partial(_once, as_json=as_json, approved=approved)
    return command_context.with_account(work, as_json=as_json, adopt=adopt)


async def _once(account: "composition.AccountRuntime", *, as_json: bool, approved: str | None) -> int:
    def show(plan_result: "plan_builder.PlanResult") -> None:
        if not as_json:
            _print_plan(plan_result, rate=account.rules.requests_per_second)

    run_report = await account.new_reconciler(show=show).reconcile(trigger="once", approved=approved)
    if _approval_missed(run_report, approved):
        context.print_text("The approved digest is not that of the held changes: none was allowed.", err=True)
    return context.print_report(run_report, as_json=as_json)


def _print_plan(plan_result: "plan_builder.PlanResult", *, rate: float) -> None:
    from worker.cli import render

    try:
        context.print_text(render.plan(plan_result, rate=rate))
    except OSError as error:
        # A BrokenPipeError must not pass as one: `main` ignores that silently, but here a run is given up.
        raise OSError(f"{error.strerror}; nothing was changed") from error


def _approval_missed(run_report: "Report", approved: str | None) -> bool:
    guarded = run_report.guarded
    return (
        approved is not None and guarded is not None and guarded.needs_approval and run_report.held_digest != approved
    )
