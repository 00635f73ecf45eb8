"""`fleet-sync undo RUN`: the inverse plan of a run, shown or saved, never applied unasked.

Invariant: the plan passes the same guard as any other. Neighbours: `core.undoing` turns the run around, `apply`
carries a saved plan out.
"""

import functools
import pathlib
from typing import TYPE_CHECKING

import click

from worker.cli import invocation

if TYPE_CHECKING:
    from worker.service import composition


@click.command("undo")
@click.argument("run")
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=pathlib.Path), help="Save the plan for `apply`."
)
@click.pass_obj
def command(call: invocation.Invocation, run: str, out: pathlib.Path | None) -> int:
    """Show or save the inverse plan of a run, without the memberships that changed since."""
    return call.work(functools.partial(_undo, run=run, out=out))


async def _undo(account: "composition.Account", *, run: str, out: pathlib.Path | None) -> int:
    from worker.cli import plan_file, render
    from worker.core.model.report import plan_exit_code

    past = await invocation.find_run(account.record, run)
    survey = await account.surveyor().undo(past.run, account.record)
    if out is not None:
        plan_file.save(survey.guarded, out)
    invocation.echo(render.inverse(survey, run=past.run, rate=account.rules.requests_per_second))
    if out is not None:
        invocation.echo(f"Saved to {out}; `fleet-sync apply {out}` does exactly this.", err=True)
    return plan_exit_code(survey.guarded, detailed=False)
