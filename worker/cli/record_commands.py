"""The commands that need only the journal: `history`, `show`, `why` and `forget`.

Invariant: they need neither key nor network, and only `forget` changes something. Outcomes are those of
the journal, including outcomes that only a later run found out. Neighbours: `lookup` finds who is meant,
`render_history` formats the text, `core.model.serialization` the JSON documents.
"""

import datetime
import functools
import sys
from typing import TYPE_CHECKING

import click

from worker.cli import context, help_page, lookup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.core.model.ports import PastRun, RunHistory

_MOST_NAMED = 100
"""Changes of a run whose drivers `history` names."""

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

    runs = [(run, await _people(record, run)) for run in await record.runs(limit=min(limit, sys.maxsize))]
    if as_json:
        context.print_document({"runs": [{**past_run_document(run), "names": people} for run, people in runs]})
    else:
        context.print_text(render_history.history(runs))
    return 0


async def _people(record: "RunHistory", past: "PastRun") -> "Mapping[str, str]":
    """Return the names of the drivers whom a run changed, by id; of a large run only those of its last changes."""
    if not any(past.outcomes.values()):
        return {}
    changes = await record.changes(run=past.run, limit=_MOST_NAMED)
    return await record.names({each.change.driver for each in changes})


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
        named = (report or plan or {}).get("names", {})
        ids = {id for each in changes for id in (each.change.driver, each.change.fleet)}
        names = {**named, **await record.names(ids)}
        context.print_text(render_history.run(past, changes, plan=plan, report=report, names=names))
    return 0


_WHY_EXAMPLES = """\
fleet-sync why drv_55UwCvyDbhkJ2SjCMieLoNk1tAI240Qe
fleet-sync why "Camille Dupont" --json
fleet-sync why camille.dupont@example.com "Nantes couriers\""""

_FORGET_EXAMPLES = """\
fleet-sync forget drv_55UwCvyDbhkJ2SjCMieLoNk1tAI240Qe
fleet-sync forget camille.dupont@example.com"""


@click.command(cls=help_page.Command, epilog=_WHY_EXAMPLES)
@click.argument("driver")
@click.argument("fleet", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the changes as one JSON document.")
@click.pass_obj
def why(command_context: context.CommandContext, driver: str, fleet: str | None, as_json: bool) -> int:
    """List every change to a driver's memberships: when, in which run, from which source line.

    DRIVER is an id (drv_…), an e-mail address or a name; FLEET an id (flt_…) or a name.
    """
    work = functools.partial(_why, driver=driver, fleet=fleet, as_json=as_json)
    return command_context.with_journal(work, as_json=as_json)


async def _why(record: "RunHistory", *, driver: str, fleet: str | None, as_json: bool) -> int:
    from worker.cli import render_history
    from worker.core.model.serialization import past_changes_document

    driver_id = await lookup.driver(record, driver)
    fleet_id = None if fleet is None else await lookup.fleet(record, fleet)
    changes = await record.changes(driver=driver_id, fleet=fleet_id)
    names = await record.names({driver_id, *(each.change.fleet for each in changes)})
    if as_json:
        context.print_document(past_changes_document(driver_id, changes, names=names))
    else:
        context.print_text(render_history.why(driver_id, changes, names=names))
    return 0


@click.command(cls=help_page.Command, epilog=_FORGET_EXAMPLES)
@click.argument("driver")
@click.pass_obj
def forget(command_context: context.CommandContext, driver: str) -> int:
    """Erase a driver's name and e-mail address from the journal, for good.

    DRIVER is an id (drv_…), an e-mail address or a name. What was done to the driver's memberships stays, under the id.
    """
    return command_context.with_journal(functools.partial(_forget, driver=driver), writes=True)


async def _forget(record: "RunHistory", *, driver: str) -> int:
    driver_id = await lookup.driver(record, driver)
    is_purged = await record.forget(driver_id, now=datetime.datetime.now(datetime.UTC))
    context.print_text(
        f"Forgotten: the journal no longer has the name or e-mail address of {driver_id}.\n"
        "Later runs do not store them again. Plans and pages still show what Charge calls the driver.\n"
        "Logs, notifications, saved plans, exports and backups are out of reach: delete them yourself."
    )
    if not is_purged:
        context.print_text("The process that writes to the journal removes the last traces at the end of its next run.")
    return 0
