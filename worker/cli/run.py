"""`fleet-sync run`: the service, until SIGTERM or SIGINT.

Invariant: a failed run never ends the service. Neighbours: `service.app` wires the service.
"""

import os
import sys
from typing import TYPE_CHECKING

import click

from worker.cli import context, help_page
from worker.core.model.errors import FleetSyncError

if TYPE_CHECKING:
    from worker.service import app

_RUN_EXAMPLES = """\
fleet-sync run
fleet-sync --log-format json run"""


@click.command(cls=help_page.Command, epilog=_RUN_EXAMPLES)
@context.adopt_journal
@click.pass_obj
def run(command_context: context.CommandContext, adopt: bool) -> int:
    """Reconcile whenever something changes and at intervals, until SIGTERM or SIGINT."""
    # structlog imports rich wherever it is installed; a service never draws, and would keep 5 MB for it.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # None makes the import fail
    return command_context.report_errors(lambda: _serve(command_context, adopt=adopt))


def _serve(command_context: context.CommandContext, *, adopt: bool) -> int:
    import anyio

    from worker.cli import exit_watchdog
    from worker.service import app

    command_context.configure_logs(service=True)

    async def main() -> int:
        try:
            code = await app.run(lambda: _operator(command_context, adopt=adopt))
        except FleetSyncError as error:  # printed here, because closing the event loop may hang
            code = context.print_failure(error, as_json=False)
        exit_watchdog.exit_soon(code)
        return code

    return anyio.run(main)


def _operator(command_context: context.CommandContext, *, adopt: bool) -> "app.Operator":
    """Read the current settings and secrets. Raise errors.SettingsError if they are invalid."""
    from worker import logs
    from worker.service import app
    from worker.settings import secrets

    settings = command_context.settings()
    operator = app.Operator(
        settings=settings,
        credentials=secrets.credentials(settings, os.environ),
        token=secrets.status_token(os.environ),
        targets=secrets.notification_targets(settings),
        adopt_journal=adopt,
    )
    targets = [secret for target in operator.targets for secret in (target.url, target.routing_key)]
    for secret in (operator.credentials.key, operator.credentials.proxy, operator.token, *targets):
        if secret is not None:
            logs.hide(secret)
    return operator
