"""`fleet-sync show RUN`: one past run, with what came of each of its changes.

Invariant: outcomes are the journal's, also those that only a later run found out. Neighbours: `history` lists runs.
"""

import functools
from typing import TYPE_CHECKING

import click

from worker.cli import context

if TYPE_CHECKING:
    from worker.core.model.ports import RunHistory


@click.command("show")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print the run's report as one JSON document.")
@click.pass_obj
def command(call: context.CommandContext, run: str, as_json: bool) -> int:
    """Show one past run, with each change, its outcome, attempts and Charge's request id."""
    return call.look_up(functools.partial(_show, run=run, as_json=as_json), as_json=as_json)


async def _show(record: "RunHistory", *, run: str, as_json: bool) -> int:
    from worker.cli import render_history
    from worker.core.model.serialization import past_report_document

    past = await context.find_run(record, run)
    plan, report = await record.documents(past.run)
    changes = await record.changes(run=past.run)
    if as_json:
        context.print_document(past_report_document(past, changes, plan=plan, report=report))
    else:
        context.echo(render_history.run(past, changes, plan=plan, report=report))
    return 0
