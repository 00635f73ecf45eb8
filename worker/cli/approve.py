"""`fleet-sync approve DIGEST`: allows the held detaches of exactly that plan, for 24 hours.

Invariant: nothing is applied here; the next run whose plan has this digest may. Neighbours: `once --approve` does both.
"""

import datetime
import functools
import re
from typing import TYPE_CHECKING

import click

from worker.cli import invocation

if TYPE_CHECKING:
    from worker.core import ports

HOURS = 24


@click.command("approve")
@click.argument("digest")
@click.pass_obj
def command(call: invocation.Invocation, digest: str) -> int:
    """Allow the held detaches of exactly the plan of this digest, for 24 hours."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise click.BadParameter("write the digest as the plan shows it: sha256: and 64 hexadecimal digits")
    return call.look_up(functools.partial(_approve, digest=digest))


async def _approve(record: "ports.Record", *, digest: str) -> int:
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(hours=HOURS)
    await record.approve(digest, now=now, until=until)
    invocation.echo(
        f"Allowed until {until:%Y-%m-%d %H:%M} UTC: the held detaches of exactly this plan."
        " A service takes it up within seconds."
    )
    return 0
