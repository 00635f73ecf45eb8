"""`fleet-sync run`: the service, until SIGTERM or SIGINT.

Invariant: a failed run never ends the service. Neighbours: `service.app` wires the service of one account,
`service.account_supervisor` that of many.
"""

import functools
import os

import click

from worker.cli import context, help_page

_RUN_EXAMPLES = """\
fleet-sync run
fleet-sync --log-format json run
fleet-sync --config accounts run"""


@click.command(cls=help_page.Command, epilog=_RUN_EXAMPLES)
@context.adopt_journal
@click.pass_obj
def run(command_context: context.CommandContext, adopt: bool) -> int:
    """Reconcile whenever something changes and at intervals, until SIGTERM or SIGINT.

    With a folder in --config, all of its accounts are reconciled; a file that is added, changed or removed takes effect
    within seconds.
    """
    if command_context.has_all_accounts and adopt:
        raise click.UsageError("--adopt-journal is for one account: add --account NAME")
    return command_context.report_errors(lambda: _serve(command_context, adopt=adopt))


def _serve(command_context: context.CommandContext, *, adopt: bool) -> int:
    from worker.service import account_reader, account_supervisor, app

    command_context.configure_logs(service=True)
    if command_context.has_cluster:
        raise click.UsageError("the accounts of a cluster are run by `fleet-sync worker`")
    if command_context.has_all_accounts:
        reader = account_reader.FolderReader(command_context.account_folder(), os.environ)
        work = functools.partial(account_supervisor.run, reader)
    else:
        read = functools.partial(account_reader.operator, command_context.settings, os.environ, adopt=adopt)
        work = functools.partial(app.run, read)
    return context.run_to_exit(work)
