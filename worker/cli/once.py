"""`fleet-sync once`: one reconciliation, as a job runs it.

Invariant: the plan that is printed is the one that is applied. Neighbours: `engine.cycle` does it, `render` tells it.
"""

import functools
from typing import TYPE_CHECKING

import click

from worker.cli import approve, context

if TYPE_CHECKING:
    from worker.service import composition


@click.command("once")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@click.option(
    "--approve",
    "approved",
    type=approve.Digest(),
    metavar="DIGEST",
    help="Allow what is held, if the plan is exactly the one of this digest.",
)
@click.pass_obj
def command(call: context.CommandContext, as_json: bool, approved: str | None) -> int:
    """Reconcile once: read, plan, guard, apply, verify, report."""
    return call.work(functools.partial(_once, as_json=as_json, approved=approved), as_json=as_json)


async def _once(account: "composition.AccountRuntime", *, as_json: bool, approved: str | None) -> int:
    from worker.cli import render
    from worker.core.model.plan_digest import plan_digest
    from worker.engine import plan_builder

    def show(plan_result: plan_builder.PlanResult) -> None:
        if as_json:
            return
        try:
            # What is not held is about to be made: what is to be approved then is the rest.
            rest = plan_digest(plan_result.guarded.account, (), (held.change for held in plan_result.guarded.held))
            context.echo(render.plan(plan_result, rate=account.rules.requests_per_second, digest=rest))
        except OSError as error:
            # As an error of no kind, also where a reader left: that is passed over where nothing was to be done.
            raise OSError(f"{error.strerror}; nothing was changed") from error

    finished = await account.cycle(show=show).reconcile(trigger="once", approved=approved)
    guarded = finished.guarded
    if approved is not None and guarded is not None and guarded.held and guarded.digest != approved:
        context.echo("The digest that was approved is not that of this plan, so nothing held was allowed.", err=True)
    return context.print_report(finished, as_json=as_json)
