"""`fleet-sync worker`: one of any number of processes that share the accounts of a cluster, until SIGTERM or SIGINT.

Invariant: whatever becomes of one account, or of the database, the process goes on. Neighbours:
`service.cluster_worker` is the process, `accounts` has the commands for the accounts.
"""

import functools
import os
import sys

import click

from worker.cli import context, help_page

_WORKER_EXAMPLES = """\
fleet-sync --config cluster worker
fleet-sync --config cluster worker --concurrency 64"""


@click.command(cls=help_page.Command, epilog=_WORKER_EXAMPLES)
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, 500),
    default=32,
    show_default=True,
    help="Accounts that are run at once.",
)
@click.pass_obj
def worker(command_context: context.CommandContext, concurrency: int) -> int:
    """Run accounts of a cluster, beside any number of other workers, until SIGTERM or SIGINT.

    The folder in --config has a file _defaults.toml that names the database in [cluster]. Each account is run by one
    worker at a time; the accounts of a worker that is gone are run by others within seconds.
    """
    # structlog imports rich wherever it is installed; a service never draws, and would keep 5 MB for it.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type] # None makes the import fail
    if command_context.account is not None:
        raise click.UsageError("a worker runs all accounts of its cluster: leave --account out")
    return command_context.report_errors(lambda: _work(command_context, concurrency=concurrency))


def _work(command_context: context.CommandContext, *, concurrency: int) -> int:
    from worker.core.model.errors import FleetSyncError

    command_context.configure_logs(service=True)
    command_context.cluster()  # an error in the settings says more than a missing package
    try:
        from worker.service import cluster_worker
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("procrastinate", "psycopg", "psycopg_pool"):
            raise
        raise FleetSyncError(
            f"a worker needs {error.name}, which is not installed",
            remedy="Install fleet-sync for clusters: pip install 'fleet-sync[cluster]'.",
        ) from None
    return context.run_to_exit(
        functools.partial(cluster_worker.run, command_context.cluster, os.environ, concurrency_limit=concurrency)
    )
