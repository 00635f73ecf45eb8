"""`fleet-sync demo`: shows the whole job on a sandbox: a plan, a run, and a second run that finds nothing to do.

Invariant: the demo runs the real commands against a real server on loopback, in a temporary folder. Neighbours:
`worker.sandbox` is the server; the commands are those of this package.
"""

import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import click

from worker.cli import context, help_page

if TYPE_CHECKING:
    from worker.sandbox import state

DRIVERS, FLEETS = 300, 12
LEAVERS, MOVERS, JOINERS = 2, 1, 4

_FLEET_SYNC = "import sys; sys.argv[0] = 'fleet-sync'; from worker.cli.main import main; main()"


@click.command(cls=help_page.Command, epilog="fleet-sync demo")
def demo() -> int:
    """Start a sandbox on a free port and show the whole job on it."""
    import anyio

    with tempfile.TemporaryDirectory(prefix="fleet-sync-demo-") as folder:
        return anyio.run(_demo, pathlib.Path(folder))


async def _demo(folder: pathlib.Path) -> int:
    import functools
    import signal

    import anyio

    from worker.sandbox import app, server, state

    account = state.SandboxState.populate(drivers=DRIVERS, fleets=FLEETS)
    listening = anyio.Event()
    urls: list[str] = []

    def started(url: str) -> None:
        urls.append(url)
        listening.set()

    code = 0
    async with anyio.create_task_group() as tasks:

        async def end_on_signals() -> None:
            nonlocal code
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                code = 128 + await anext(aiter(signals))
                tasks.cancel_scope.cancel()

        tasks.start_soon(end_on_signals)
        tasks.start_soon(functools.partial(server.serve, app.Sandbox(account, record=False), started=started))
        await listening.wait()
        _write_files(folder, urls[0], account)
        code = await _run_commands(folder, app.KEY)
        tasks.cancel_scope.cancel()
    return code


def _write_files(folder: pathlib.Path, url: str, account: "state.SandboxState") -> None:
    """Write settings and a membership document that differs a little from the sandbox."""
    (folder / "fleet-sync.toml").write_text(f'[charge]\nbase_url = "{url}"\n\n[[sources]]\npath = "membership.yaml"\n')
    members = {fleet: sorted(account.members(fleet)) for fleet in account.fleets}
    ids = list(members)
    moving = members[ids[1]][:MOVERS]
    members[ids[0]] = members[ids[0]][LEAVERS:]
    members[ids[1]] = members[ids[1]][MOVERS:]
    members[ids[2]] += [driver for driver in moving if driver not in members[ids[2]]]
    members[ids[3]] += [driver for driver in account.drivers if not account.fleets_of(driver)][:JOINERS]
    lines = ["fleets:"]
    for fleet, drivers in members.items():
        lines.append(f'  "{account.fleets[fleet].name}":')
        lines.extend(f"    - {account.drivers[driver].email}" for driver in drivers)
    (folder / "membership.yaml").write_text("\n".join(lines) + "\n")


async def _run_commands(folder: pathlib.Path, key: str) -> int:
    """Run the commands one after the other. Return the first exit code that is not 0."""
    context.print_text(f"A sandbox with {DRIVERS} drivers in {FLEETS} fleets is running on this machine.")
    context.print_text("The document membership.yaml lists who should be in which fleet.")
    context.print_text(f"Since the last sync, {LEAVERS} drivers left, {MOVERS} moved and {JOINERS} joined.")
    for title, arguments in (
        ("What would change?", ["plan"]),
        ("Apply it.", ["once"]),
        ("Run it again: nothing is left to do.", ["once"]),
    ):
        command_line = shlex.join(["fleet-sync", *arguments])
        context.print_text(f"\n{click.style(f'# {title}', fg='cyan')}\n{click.style(f'$ {command_line}', bold=True)}")
        if code := await _run_command(folder, key, arguments):
            return code
    return 0


async def _run_command(folder: pathlib.Path, key: str, arguments: list[str]) -> int:
    """Run a command of this package in a process of its own, with the same stdout and stderr."""
    import anyio

    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_SYNC_")}
    environ |= {"CHARGE_API_KEY": key, "FLEET_SYNC_CONFIG": str(folder / "fleet-sync.toml")}
    environ["FLEET_SYNC_LOG_LEVEL"] = "warning"
    sys.stdout.flush()
    program = [sys.executable, "-c", _FLEET_SYNC, *arguments]
    process = await anyio.run_process(
        program,
        stdin=subprocess.DEVNULL,
        stdout=None,
        stderr=None,
        check=False,
        env=environ,
    )
    return process.returncode
