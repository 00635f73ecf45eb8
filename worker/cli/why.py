"""`fleet-sync why DRIVER [FLEET]`: every change that was ever made to a driver's memberships.

Invariant: reads the journal only. Neighbours: `show` has the run around a change.
"""

import functools
from typing import TYPE_CHECKING

import click

from worker.cli import context

if TYPE_CHECKING:
    from worker.core.model.identifiers import DriverId, FleetId
    from worker.core.model.ports import RunHistory


@click.command("why")
@click.argument("driver")
@click.argument("fleet", required=False)
@click.pass_obj
def command(call: context.CommandContext, driver: str, fleet: str | None) -> int:
    """Tell every change to a driver's memberships: when, in which run, from which source line.

    DRIVER and FLEET are ids (drv_…, flt_…).
    """
    from worker.core.planning import references

    try:
        who = references.parse_driver_id(driver)
    except ValueError:
        raise click.BadParameter("the journal knows drivers by id: write drv_ and 32 letters or digits") from None
    try:
        where = None if fleet is None else references.parse_fleet_id(fleet)
    except ValueError:
        raise click.BadParameter("the journal knows fleets by id: write flt_ and 32 letters or digits") from None
    return call.look_up(functools.partial(_why, driver=who, fleet=where))


async def _why(record: "RunHistory", *, driver: "DriverId", fleet: "FleetId | None") -> int:
    from worker.cli import render_history

    changes = await record.changes(driver=driver, fleet=fleet)
    context.echo(render_history.why(changes) if changes else "No change to this is in the journal.")
    return 0
