"""`fleet-sync sandbox`: an imitation of the Charge API on this machine, to try things on.

Invariant: listens on loopback only. Neighbours: `worker.sandbox` is the imitation.
"""

import functools
import os
import signal

import click


@click.command("sandbox")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--drivers", type=click.IntRange(0, 1_000_000), default=300, show_default=True, help="Drivers to invent.")
@click.option("--fleets", type=click.IntRange(0, 10_000), default=12, show_default=True, help="Fleets to invent.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, max=1_000_000, min_open=True),
    help="Requests a second before 429 [default: no limit].",
)
@click.option(
    "--fault", "faults", metavar="NAME=P", multiple=True, help="A fault and its probability; may be repeated."
)
@click.option("--seed", type=int, default=1, show_default=True, help="What to invent everything from.")
def command(port: int, drivers: int, fleets: int, rate: float | None, faults: tuple[str, ...], seed: int) -> int:
    """Serve an imitation of the Charge API on this machine, until interrupted.

    Its key is ch_sk_test_sandbox.
    """
    import anyio

    from worker.sandbox import app, quirks, server, state
    from worker.sandbox import faults as faults_

    try:
        chosen = faults_.parse(faults, seed=seed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from None
    sandbox = app.create(
        state.SandboxState.populate(drivers=drivers, fleets=fleets, seed=seed),
        quirks=quirks.Quirks(rate=rate),
        faults=chosen,
        record=False,
    )

    def started(url: str) -> None:
        click.echo(f"Sandbox with {drivers} drivers in {fleets} fleets at {url}, key {app.KEY}. Ctrl+C ends it.")

    async def serve() -> int:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(functools.partial(server.serve, sandbox, port=port, started=started))
                number = await anext(aiter(signals))
                tasks.cancel_scope.cancel()
        return 128 + number

    try:
        return anyio.run(serve)
    except* OSError as group:
        [errno] = (each.errno for each in group.exceptions if isinstance(each, OSError))
        reason = os.strerror(errno or 0)
        remedy = "choose another with --port; 0 takes a free one"
        raise click.ClickException(f"port {port} cannot be used ({reason}): {remedy}") from None
