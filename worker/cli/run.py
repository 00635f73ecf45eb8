"""`fleet-sync run`: the service, until SIGTERM or SIGINT.

Invariant: no failure of one run ends the service. Neighbours: `service.run` is the loop.
"""

from typing import TYPE_CHECKING

import click

from worker.cli import invocation

if TYPE_CHECKING:
    from worker import service


@click.command("run")
@click.pass_obj
def command(call: invocation.Invocation) -> int:
    """Reconcile at start and at every interval, until SIGTERM or SIGINT."""
    return call.work(_run, service=True)


async def _run(account: "service.Account") -> int:
    from worker import service

    return await service.run(account)
