"""The commands that only read the journal: `history`, `show` and `why`.

Invariant: they need neither key nor network. Outcomes are those of the journal, including outcomes that only a later
run found out. Neighbours: `render_history` formats the text, `core.model.serialization` the JSON documents.
"""

import functools
from typing import TYPE_CHECKING

import click

from worker.cli import context, help_page

if TYPE_CHECKING:
    from worker.core.model.identifiers import DriverId, FleetId
    from worker.core.model.ports import RunHistory

_HISTORY_EXAMPLES = """\
fleet-sync history
fleet-sync history --limit 100 --json"""


@click.command(cls=help_page.Command, epilog=_HISTORY_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print the runs as one JSON document.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs to list."
)
@click.pass_obj
def history(command_context: context.CommandContext, as_json: bool, limit: int) -> int:
    """List past runs, the newest first."""
    return command_context.with_journal(functools.partial(_history, as_json=as_json, limit=limit), as_json=as_json)


async def _history(record: "RunHistory", *, as_json: bool, limit: int) -> int:
    from worker.cli import render_history
    from worker.core.model.serialization import past_run_document

    runs = await record.runs(limit=limit)
    if as_json:
        context.print_document({"runs": [past_run_document(run) for run in runs]})
    else:
        context.print_text(render_history.history(runs))
    return 0


_SHOW_EXAMPLES = """\
fleet-sync show run_39509cd1
fleet-sync show run_39509cd1 --json"""


@click.command(cls=help_page.Command, epilog=_SHOW_EXAMPLES)
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print the run's report as one JSON document.")
@click.pass_obj
def show(command_context: context.CommandContext, run: str, as_json: bool) -> int:
    """Show one past run with each change, its outcome, its attempts and Charge's request id."""
    return command_context.with_journal(functools.partial(_show, run=run, as_json=as_json), as_json=as_json)


async def _show(record: "RunHistory", *, run: str, as_json: bool) -> int:
    from worker.cli import render_history
    from worker.core.model.serialization import past_report_document

    past = await context.find_run(record, run)
    plan, report = await record.documents(past.run)
    changes = await record.changes(run=past.run)
    if as_json:
        context.print_document(past_report_document(past, changes, plan=plan, report=report))
    else:
        context.print_text(render_history.run(past, changes, plan=plan, report=report))
    return 0


@click.command(cls=help_page.Command, epilog="fleet-sync why drv_55UwCvyDbhkJ2SjCMieLoNk1tAI240Qe")
@click.argument("driver")
@click.argument("fleet", required=False)
@click.pass_obj
def why(command_context: context.CommandContext, driver: str, fleet: str | None) -> int:
    """List every change to a driver's memberships: when, in which run, from which source line.

    DRIVER and FLEET are ids (drv_…, flt_…).
    """
    from worker.core.planning import references

    try:
        driver_id = references.parse_driver_id(driver)
    except ValueError:
        raise click.BadParameter("the journal knows drivers by id: write drv_ and 32 letters or digits") from None
    try:
        fleet_id = None if fleet is None else references.parse_fleet_id(fleet)
    except ValueError:
        raise click.BadParameter("the journal knows fleets by id: write flt_ and 32 letters or digits") from None
    return command_context.with_journal(functools.partial(_why, driver=driver_id, fleet=fleet_id))


async def _why(record: "RunHistory", *, driver: "DriverId", fleet: "FleetId | None") -> int:
    from worker.cli import render_history

    changes = await record.changes(driver=driver, fleet=fleet)
    context.print_text(render_history.why(changes) if changes else "The journal has no such change.")
    return 0
