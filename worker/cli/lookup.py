"""Finds the driver or fleet that a person means: by id, e-mail address or name, as the journal knows them.

Invariant: an ambiguous name is an error that lists what it may mean; nothing is guessed. Neighbours:
`record_commands` and `pause_commands` call this.
"""

import click

from worker.cli import layout
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.ports import RunHistory
from worker.core.planning import near_misses, references, similar

_MOST_SHOWN = 10


async def driver(record: RunHistory, text: str) -> DriverId:
    """Return the driver with this id, e-mail address or name. Raises click.BadParameter."""
    if text.startswith("drv_"):
        try:
            return references.parse_driver_id(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    found = await record.drivers_named(text, limit=_MOST_SHOWN + 1)
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.BadParameter(
            f"the journal knows no driver by the name or e-mail address {layout.printable(text)!r}: it knows those "
            "whom a change, a held change or a problem was about. Write the id (drv_ and 32 letters or digits)."
        )
    names = await record.names(found)
    lines = [f"  {each}  {layout.printable(names.get(each, ''))}".rstrip() for each in found[:_MOST_SHOWN]]
    more = ["  …"] if len(found) > _MOST_SHOWN else []
    raise click.BadParameter("\n".join(["several drivers match; write the id of one:", *lines, *more]))


async def fleet(record: RunHistory, text: str) -> FleetId:
    """Return the fleet with this id, or the only one with this name. Raises click.BadParameter."""
    if text.startswith("flt_"):
        try:
            return references.parse_fleet_id(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    known = await record.fleets()
    if not known:
        raise click.BadParameter("the journal knows no fleets yet: write the id (flt_ and 32 letters or digits)")
    found = [id for id, name in known.items() if near_misses.fold(name) == near_misses.fold(text)]
    if len(found) == 1:
        return found[0]
    likely = set(similar.names(text, known.values()))
    candidates = found or [id for id, name in known.items() if name in likely] or list(known)
    what = "several fleets have the name" if found else "the journal knows no fleet with the name"
    hint = "write the id of one:" if found else "perhaps one of these is meant:" if likely else "it knows these:"
    lines = [f"  {layout.printable(known[id])} ({id})" for id in candidates[:_MOST_SHOWN]]
    more = ["  …"] if len(candidates) > _MOST_SHOWN else []
    raise click.BadParameter("\n".join([f"{what} {layout.printable(text)!r}; {hint}", *lines, *more]))
