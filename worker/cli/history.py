"""`fleet-sync history`: past runs, the newest first.

Invariant: reads the journal only; neither key nor network is needed. Neighbours: `show` has the details of one run.
"""

import functools
from typing import TYPE_CHECKING

import click

from worker.cli import context

if TYPE_CHECKING:
    from worker.core.model.ports import RunHistory


@click.command("history")
@click.option("--json", "as_json", is_flag=True, help="Print the runs as one JSON document.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The most runs to show.")
@click.pass_obj
def command(call: context.CommandContext, as_json: bool, limit: int) -> int:
    """List past runs, the newest first."""
    return call.look_up(functools.partial(_history, as_json=as_json, limit=limit), as_json=as_json)


async def _history(record: "RunHistory", *, as_json: bool, limit: int) -> int:
    from worker.cli import render_history
    from worker.core.model.serialization import past_run_document

    runs = await record.runs(limit=limit)
    if as_json:
        context.print_document({"runs": [past_run_document(run) for run in runs]})
    else:
        context.echo(render_history.history(runs))
    return 0
