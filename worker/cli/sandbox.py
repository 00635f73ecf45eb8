"""`fleet-sync sandbox`: serves an imitation of the Charge API on this machine.

Invariant: listens on loopback only. Neighbours: `worker.sandbox.app` is the imitation, `server` there serves it.
"""

import functools
import math
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from worker.cli import context, help_page

if TYPE_CHECKING:
    from worker.sandbox import app

_SANDBOX_EXAMPLES = """\
fleet-sync sandbox
fleet-sync sandbox --port 0 --rate 50 --fault 503=0.1 --fault hang=0.01"""


class SandboxCommand(help_page.Command):
    """A command whose help lists the faults."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options, and below them the faults."""
        from worker.sandbox import faults

        super().format_options(ctx, formatter)
        with formatter.section("Faults"):
            formatter.write_dl(list(faults.NAMES.items()))


@click.command(cls=SandboxCommand, epilog=_SANDBOX_EXAMPLES)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="The port; 0 is any free port.",
)
@click.option(
    "--drivers",
    metavar="N",
    type=click.IntRange(0, 1_000_000),
    default=300,
    show_default=True,
    help="Number of drivers.",
)
@click.option(
    "--fleets", metavar="N", type=click.IntRange(0, 10_000), default=12, show_default=True, help="Number of fleets."
)
@click.option(
    "--rate",
    metavar="N",
    type=click.FloatRange(min=0, max=1_000_000, min_open=True),
    help="Requests per second before 429 [default: no limit].",
)
@click.option(
    "--fault",
    "fault_options",
    metavar="NAME=P",
    multiple=True,
    help="A fault (below) and its probability, 0 to 1. May be repeated.",
)
@click.option("--seed", metavar="N", type=int, default=1, show_default=True, help="The seed of everything random.")
def sandbox(port: int, drivers: int, fleets: int, rate: float | None, fault_options: tuple[str, ...], seed: int) -> int:
    """Serve an imitation of the Charge API on this machine, until interrupted.

    Its key is ch_sk_test_sandbox.
    """
    import anyio

    from worker.sandbox import app, faults, quirks, state

    if rate is not None and math.isnan(rate):  # which no range excludes
        raise click.BadParameter("'nan' is not a number", param_hint="--rate")
    try:
        chosen_faults = faults.parse(fault_options, seed=seed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from None
    account = state.SandboxState.populate(drivers=drivers, fleets=fleets, seed=seed)
    imitation = app.Sandbox(account, quirks=quirks.Quirks(rate=rate), faults=chosen_faults, record=False)

    def print_url(url: str) -> None:
        place = f"Sandbox with {drivers} drivers in {fleets} fleets at {url}, key {app.KEY}."
        context.print_text(f"{place} Press Ctrl+C to stop.")

    try:
        return anyio.run(_serve, imitation, port, print_url)
    except* OSError as group:
        [errno] = (each.errno for each in group.exceptions if isinstance(each, OSError))
        reason = os.strerror(errno or 0)
        remedy = "choose another with --port; 0 is any free port"
        raise click.ClickException(f"port {port} cannot be used ({reason}): {remedy}") from None


async def _serve(imitation: "app.Sandbox", port: int, started: Callable[[str], None]) -> int:
    """Serve until a signal arrives, and return the exit code that belongs to it."""
    import anyio

    from worker.sandbox import server

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(functools.partial(server.serve, imitation, port=port, started=started))
            number = await anext(aiter(signals))
            tasks.cancel_scope.cancel()
    return 128 + number
