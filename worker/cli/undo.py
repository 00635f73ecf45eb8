"""`fleet-sync undo RUN`: the inverse plan of a run, shown or saved, never applied unasked.

Invariant: the plan passes the same guard as any other. Neighbours: `core.undoing` turns the run around, `apply`
carries a saved plan out.
"""

import functools
import pathlib
from typing import TYPE_CHECKING

import click

from worker.cli import context

if TYPE_CHECKING:
    from worker.service import composition


@click.command("undo")
@click.argument("run")
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Save the plan for `apply`."
)
@click.pass_obj
def command(call: context.CommandContext, run: str, out: pathlib.Path | None) -> int:
    """Show or save the inverse plan of a run, without the memberships that changed since."""
    return call.work(functools.partial(_undo, run=run, out=out))


async def _undo(account: "composition.AccountRuntime", *, run: str, out: pathlib.Path | None) -> int:
    from worker.cli import plan_file, render
    from worker.core.model.report import plan_exit_code

    past = await context.find_run(account.record, run)
    plan_result = await account.builder().undo(past.run, account.record)
    if out is not None:
        plan_file.save(plan_result.guarded, out)
    context.echo(render.inverse(plan_result, run=past.run, rate=account.rules.requests_per_second))
    if out is not None:
        context.echo(f"Saved to {out}; `fleet-sync apply {out}` does exactly this.", err=True)
    return plan_exit_code(plan_result.guarded, detailed=False)
