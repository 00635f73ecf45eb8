"""The commands `pause` and `resume`: stop writes to Charge, and go on.

Invariant: they only write to the journal, whether or not another process writes to it; a run that is in progress
notices within about a second. Neighbours: `core.model.pauses` is the value, `engine.pause_watch` obeys it.
"""

import datetime
import functools
import getpass
from typing import TYPE_CHECKING

import click

from worker.cli import command_line, context, help_page, layout, lookup
from worker.cli.plan_commands import Age
from worker.core.model.people import annotate

if TYPE_CHECKING:
    from worker.core.model.pauses import Pause
    from worker.core.model.ports import RunHistory

_PAUSE_EXAMPLES = """\
fleet-sync pause --for 2h --reason "migration of the HR system"
fleet-sync pause --fleet "Nantes couriers"
"""
_RESUME_EXAMPLES = """\
fleet-sync resume
fleet-sync resume --fleet "Nantes couriers\""""

_FLEET = click.option("--fleet", metavar="REF", help="Only this fleet: its id (flt_…) or its name.")


@click.command(cls=help_page.Command, epilog=_PAUSE_EXAMPLES.strip())
@_FLEET
@click.option("--for", "length", metavar="DURATION", type=Age(), help="End after this time, as in 90m, 2h or 1d.")
@click.option("--reason", metavar="TEXT", default="", help="Why; shown with the pause.")
@click.pass_obj
def pause(
    command_context: context.CommandContext, fleet: str | None, length: datetime.timedelta | None, reason: str
) -> int:
    """Stop all changes in Charge, or those of one fleet; planning and alerts go on."""
    if length is not None and not length:
        raise click.BadParameter("a pause of length 0 stops nothing: write a number above 0", param_hint="--for")
    work = functools.partial(_pause, fleet=fleet, length=length, reason=reason)
    return command_context.with_journal(work)


async def _pause(record: "RunHistory", *, fleet: str | None, length: datetime.timedelta | None, reason: str) -> int:
    from worker.core.model import pauses

    now = datetime.datetime.now(datetime.UTC)
    paused = pauses.Pause(
        since=now,
        until=None if length is None else now + length,
        by=_user(),
        reason=reason,
        fleet=None if fleet is None else await lookup.fleet(record, fleet),
    )
    await record.pause(paused)
    context.print_text(f"{await _place(record, paused, everywhere='All fleets')}: {layout.printable(str(paused))}.")
    only = () if paused.fleet is None else ("--fleet", paused.fleet)
    to_resume = command_line.command("resume", *only)
    context.print_text(f"Runs still read and plan, and write nothing there. To go on: {to_resume}")
    return 0


@click.command(cls=help_page.Command, epilog=_RESUME_EXAMPLES)
@_FLEET
@click.pass_obj
def resume(command_context: context.CommandContext, fleet: str | None) -> int:
    """End every pause, or that of one fleet. A running service goes on within seconds."""
    return command_context.with_journal(functools.partial(_resume, fleet=fleet))


async def _resume(record: "RunHistory", *, fleet: str | None) -> int:
    fleet_id = None if fleet is None else await lookup.fleet(record, fleet)
    ended = await record.resume(now=datetime.datetime.now(datetime.UTC), by=_user(), fleet=fleet_id)
    for each in ended:
        place = await _place(record, each, everywhere="all fleets")
        context.print_text(f"Resumed: {place}, {layout.printable(str(each))}.")
    if not ended:
        context.print_text("Nothing was paused.")
    return 0


async def _place(record: "RunHistory", each: "Pause", *, everywhere: str) -> str:
    """Return the paused fleet with its name."""
    if each.fleet is None:
        return everywhere
    return layout.printable(annotate(each.fleet, await record.names({each.fleet})))


def _user() -> str:
    """Return the name of the person at the terminal, as the system knows it; empty if it does not."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
