"""`fleet-sync run`: the service, until SIGTERM or SIGINT.

Invariant: no failure of one run ends the service. Neighbours: `service.outside` puts it together.
"""

import os
import sys
from typing import TYPE_CHECKING

import click

from worker.cli import context
from worker.core.model.errors import FleetSyncError

if TYPE_CHECKING:
    from worker.service import app


@click.command("run")
@click.pass_obj
def command(call: context.CommandContext) -> int:
    """Reconcile whenever there is a reason to, until SIGTERM or SIGINT."""

    def run() -> int:
        # structlog imports it wherever it is there, and a service draws nothing: 5 MB for months.
        sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # None is how an import is refused
        import anyio

        from worker.cli import exit_watchdog
        from worker.service import app

        call.configure_logs(service=True)

        async def main() -> int:
            try:
                code = await app.run(lambda: _operator(call))
            except FleetSyncError as error:  # told before the loop is closed, which may hang
                code = context.print_failure(error, as_json=False)
            exit_watchdog.exit_soon(code)
            return code

        return anyio.run(main)

    return call.guarded(run)


def _operator(call: context.CommandContext) -> "app.Operator":
    """Read the settings and every secret as they are now. Raises errors.SettingsError."""
    from worker import logs
    from worker.service import app
    from worker.settings import secrets

    settings = call.settings()
    operator = app.Operator(
        settings=settings,
        key=secrets.api_key(settings, os.environ),
        token=secrets.status_token(os.environ),
        webhook=secrets.webhook_address(settings),
    )
    for secret in (operator.key, operator.token, operator.webhook):
        if secret is not None:
            logs.hide(secret)
    return operator
