"""`fleet-sync plan`: what would change, and what that would cost. Reads only.

Invariant: no write is sent. Neighbours: `engine.cycle` surveys, `render` and `plan_file` write the plan down.
"""

import functools
import pathlib
from typing import TYPE_CHECKING

import click

from worker.cli import context

if TYPE_CHECKING:
    from worker.service import composition


@click.command("plan")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as one JSON document.")
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Save the plan for `apply`."
)
@click.option("--detailed-exitcode", "detailed", is_flag=True, help="Exit with 2 where there are changes.")
@click.pass_obj
def command(call: context.CommandContext, as_json: bool, out: pathlib.Path | None, detailed: bool) -> int:
    """Show what would change; change nothing."""
    work = functools.partial(_plan, as_json=as_json, out=out, detailed=detailed)
    return call.work(work, as_json=as_json)


async def _plan(
    account: "composition.AccountRuntime", *, as_json: bool, out: pathlib.Path | None, detailed: bool
) -> int:
    from worker.cli import plan_file, render
    from worker.core.model.report import plan_exit_code
    from worker.core.model.serialization import plan_document

    plan_result = await account.builder().plan_result()
    if out is not None:
        plan_file.save(plan_result.guarded, out)  # before anything is printed: where it fails, only that is told
    if as_json:
        context.print_document(plan_document(plan_result.guarded))
    else:
        context.echo(render.plan(plan_result, rate=account.rules.requests_per_second))
    if out is not None:
        context.echo(f"Saved to {out}; `fleet-sync apply {out}` does exactly this.", err=True)
    return plan_exit_code(plan_result.guarded, detailed=detailed)
