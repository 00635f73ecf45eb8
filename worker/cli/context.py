"""The global options of a call, and what every subcommand does with them: settings, logs, journal, account, errors.

Invariant: an expected error is printed as a message with its remedy (with `--json` as a document) and gives its exit
code; it never becomes a traceback. Neighbours: every subcommand uses this; `service.composition` wires an account.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal

import click

from worker.core.model.errors import FleetSyncError, UnknownRun

if TYPE_CHECKING:
    from worker.core.model.ports import PastRun, RunHistory
    from worker.core.model.report import Report
    from worker.journal import claims, sql_journal
    from worker.service import cluster, cluster_command, composition
    from worker.settings import model, secrets

AccountWork = Callable[["composition.AccountRuntime"], Awaitable[int]]
JournalWork = Callable[["RunHistory"], Awaitable[int]]
Lent = tuple["sql_journal.SqlJournal | None", "secrets.Credentials"]
Lend = Callable[["secrets.Credentials"], AbstractAsyncContextManager[Lent]]

only_fleets = click.option(
    "--fleet",
    "fleets",
    metavar="REF",
    multiple=True,
    callback=lambda ctx, parameter, value: _valid_fleets(value),
    help="Leave the changes of other fleets out. An id or name; may be repeated.",
)
"""Changes of these fleets only; everything is read and evaluated all the same."""


def _valid_fleets(texts: tuple[str, ...]) -> tuple[str, ...]:
    from worker.core.planning import references

    for text in texts:
        try:
            references.parse_fleet(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return texts


adopt_journal = click.option(
    "--adopt-journal", "adopt", is_flag=True, help="Use the journal although it belongs to another account."
)
"""The option of every command that plans or writes with the journal."""

_NOT_ASCII = re.compile(r"[^\n -~]")

_SHOWN_IN_RESULT = frozenset({"membership_attach", "membership_detach"})
"""Log events of failed changes, which the result of a command lists again."""


@dataclasses.dataclass(frozen=True, slots=True)
class CommandContext:
    """The global options of a call."""

    config: str
    log_format: Literal["auto", "console", "json"]
    log_level: str | None
    color: Literal["auto", "always", "never"] = "auto"
    account: str | None = None

    def settings(self) -> "model.Settings":
        """Read the settings. Raise errors.SettingsError if they are invalid."""
        if self.is_folder:
            from worker.settings import account_folder

            name, folder = self.require_account(), self.account_folder()
            if self.has_cluster:
                return self.cluster().account(name)
            return account_folder.load(folder, name, account_folder.read_defaults(folder))
        from worker.settings import loader

        self.require_no_account()
        _require_on_its_own(pathlib.Path(self.config))
        return loader.load(self.config, os.environ)

    @property
    def is_folder(self) -> bool:
        """Return whether `--config` is a folder of accounts."""
        from worker.settings import loader

        return loader.is_folder(self.config)

    @property
    def has_all_accounts(self) -> bool:
        """Return whether `--config` is a folder of accounts, and none of them is named."""
        return self.account is None and self.is_folder

    def require_account(self) -> str:
        """Return which account of the folder is meant. Raise click.UsageError if none is named."""
        if self.account is None:
            raise click.UsageError(
                f"{self.config} is a folder of accounts: add --account NAME, or pass the settings file of one account"
            )
        return self.account

    def require_no_account(self) -> None:
        """Raise click.UsageError if an account is named, which a single settings file does not have."""
        if self.account is not None:
            raise click.UsageError("--account needs a folder of accounts: pass --config FOLDER")

    @property
    def has_cluster(self) -> bool:
        """Return whether `--config` is the folder of a cluster. Raise errors.SettingsError if that cannot be known."""
        from worker.settings import account_folder

        path = pathlib.Path(self.config)
        return self.is_folder and account_folder.read_defaults(path).cluster is not None

    @property
    def folder(self) -> pathlib.Path:
        """Return the folder to which the paths in the settings are relative."""
        path = pathlib.Path(self.config)
        return path if self.is_folder else path.parent

    def account_folder(self) -> pathlib.Path:
        """Return the folder of accounts. Raise click.UsageError if a variable is set that would be for all of them."""
        from worker.settings import loader, secrets

        keys = [name for name in (secrets.KEY_VARIABLE, secrets.KEY_FILE_VARIABLE) if os.environ.get(name)]
        if misused := [*keys, *loader.overriding(os.environ)]:
            unset = "unset it" if len(misused) == 1 else "unset them"
            reason = "each account of a folder has settings and a key of its own"
            raise click.UsageError(f"{', '.join(misused)} would be for all accounts, but {reason}: {unset}")
        return pathlib.Path(self.config)

    def cluster(self) -> "cluster.Cluster":
        """Return the cluster of the folder. Raise errors.SettingsError if `_defaults.toml` names none."""
        from worker.service import cluster

        if not self.is_folder:
            raise click.UsageError("a cluster is described by the _defaults.toml of a folder: pass --config FOLDER")
        return cluster.cluster(self.account_folder())

    def configure_logs(self, *, service: bool = False, as_json: bool = False) -> None:
        """Set up logging. On a terminal only warnings are logged, except by a service.

        There, failed changes that the result shows are not logged again; a JSON result is not read there.
        """
        from worker import logs
        from worker.cli import layout, progress

        quiet = sys.stderr.isatty() and not service
        logs.configure(
            form=self.log_format,
            level=self.log_level or ("warning" if quiet else "info"),
            colours=self.color == "always" or (self.color == "auto" and sys.stderr.isatty()),
            left_out=_SHOWN_IN_RESULT if quiet and not as_json and self.log_level is None else frozenset(),
            before=progress.clear,
            fit=lambda line: layout.fit(line, layout.columns(sys.stderr)),
        )

    def with_account(
        self,
        work: AccountWork,
        *,
        as_json: bool = False,
        adopt: bool = False,
        writes: bool = False,
        settings: "model.Settings | None" = None,
    ) -> int:
        """Open the account of the settings and work on it, until the work is done or a signal ends it.

        With `adopt`, the journal may be one that belongs to another account. Work that `writes` has the account of a
        cluster for itself. `settings` are used instead of those in the file.
        """

        async def adopting(account: "composition.AccountRuntime") -> int:
            account.adopt_journal(allowed=adopt)
            return await work(account)

        def run() -> int:
            self.configure_logs(as_json=as_json)
            used = settings or self.settings()
            lend = functools.partial(self._lent_account, used) if writes else _nothing_lent
            return _run_with_account(used, adopting, as_json=as_json, use_color=self.color != "never", lend=lend)

        return self.report_errors(run, as_json=as_json)

    def with_journal(self, work: JournalWork, *, as_json: bool = False, writes: bool = False) -> int:
        """Open the journal of the settings and work on it. Needs neither key nor network.

        Work that `writes` has the account of a cluster for itself.
        """

        def run() -> int:
            import anyio

            from worker.service import composition

            self.configure_logs()
            settings = self.settings()

            async def main() -> int:
                lend = self._lent_journal if writes else contextlib.nullcontext
                async with lend() as lent, composition.record(settings, lent=lent) as record:
                    return await work(record)

            return anyio.run(main)

        return self.report_errors(run, as_json=as_json)

    @contextlib.asynccontextmanager
    async def _lent_account(
        self, settings: "model.Settings", credentials: "secrets.Credentials"
    ) -> "AsyncIterator[Lent]":
        """Lend what `_lent_journal` does, and the credentials; refuse a key of another account, now and later."""
        own = credentials

        def prepare(held: "claims.Claims", claim: "claims.Claim") -> None:
            nonlocal own
            from worker.service import cluster_run

            own = cluster_run.own_key(held, claim, settings, credentials)

        async with self._lent_journal(prepare) as lent:
            yield lent, own

    @contextlib.asynccontextmanager
    async def _lent_journal(
        self, prepare: "cluster_command.Prepare" = lambda held, claim: None
    ) -> "AsyncIterator[sql_journal.SqlJournal | None]":
        """Claim the account if it is one of a cluster, and yield its journal; None if it has one of its own."""
        if self.account is None or not self.has_cluster:
            yield None
            return
        from worker.service import cluster_command

        async with cluster_command.journal(self.cluster(), self.account, prepare=prepare) as lent:
            yield lent

    def report_errors(self, run: Callable[[], int], *, as_json: bool = False) -> int:
        """Call `run` and return its exit code. Print an expected error and return its exit code."""
        try:
            return run()
        except FleetSyncError as error:
            return print_failure(error, as_json=as_json)


def _require_on_its_own(path: pathlib.Path) -> None:
    """Raise click.UsageError for a file of a folder of accounts: without the defaults it means something else."""
    from worker.settings import loader

    if os.path.lexists(path.with_name(loader.DEFAULTS)):
        folder = shlex.quote(str(path.parent))
        raise click.UsageError(
            f"{path} belongs to a folder of accounts, with defaults in {loader.DEFAULTS}: pass "
            f"--config {folder} --account {shlex.quote(path.stem)}"
        )


def print_text(text: str, *, err: bool = False) -> None:
    """Print a text, after removing the progress bar. Fits it to the width of a terminal."""
    from worker.cli import layout

    print_verbatim(layout.fit(text, layout.columns(sys.stderr if err else sys.stdout)), err=err)


def print_verbatim(text: str, *, err: bool = False) -> None:
    """Print a text as it is, after removing the progress bar."""
    from worker.cli import progress

    progress.clear()
    click.echo(text, err=err)


def print_document(document: Mapping[str, Any]) -> None:
    """Print one JSON document; characters that could control a terminal are escaped."""
    written = json.dumps(document, indent=2, ensure_ascii=False)
    print_verbatim(
        _NOT_ASCII.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], written)
    )


def print_report(run_report: "Report", *, as_json: bool) -> int:
    """Print the report of a run as text or as JSON, and return its exit code."""
    from worker.cli import render
    from worker.core.model.serialization import report_document

    if as_json:
        print_document(report_document(run_report))
    else:
        print_text(render.result(run_report))
        if run_report.error is not None:
            print_error(run_report.error)
    return run_report.exit_code


def print_failure(error: FleetSyncError, *, as_json: bool) -> int:
    """Print an error that left no report, as text or as JSON, and return its exit code."""
    from worker.core.model.serialization import failure_document

    if as_json:
        print_document(failure_document(error))
    else:
        print_error(error)
    return error.exit_code


def print_error(error: FleetSyncError) -> None:
    """Print an error and its remedy to stderr."""
    from worker.cli import command_line, layout

    message = "\n".join(layout.printable(line) for line in error.message.split("\n"))
    print_text(f"{click.style('error:', fg='red', bold=True)} {command_line.completed(message)}", err=True)
    if error.remedy and not _says_already(message, error.remedy):
        print_text(f"  {command_line.completed(error.remedy)}", err=True)


def _says_already(message: str, remedy: str) -> bool:
    return remedy.rstrip(".").lower() in message.lower()


async def find_run(record: "RunHistory", text: str) -> "PastRun":
    """Return the run with this id, or with this unique beginning of its id. Raise errors.UnknownRun otherwise."""
    from worker.core.model.identifiers import RunId

    if past := await record.run(RunId(text)):
        return past
    found = await record.run_ids(text, limit=2) if text else ()
    if len(found) == 1 and (past := await record.run(found[0])):
        return past
    raise UnknownRun(f"{'several runs begin' if found else 'no run in the journal begins'} with {text!r}")


def run_to_exit(work: Callable[[], Awaitable[int]], *, as_json: bool = False) -> int:
    """Run what ends the process, and return its exit code, or that of the error that it raised."""
    import anyio

    from worker.cli import exit_watchdog

    async def main() -> int:
        try:
            code = await work()
        except FleetSyncError as error:  # printed here, because closing the event loop may hang
            code = print_failure(error, as_json=as_json)
        exit_watchdog.exit_soon(code)
        return code

    return anyio.run(main)


def _nothing_lent(credentials: "secrets.Credentials") -> "AbstractAsyncContextManager[Lent]":
    """Lend no journal: the account has one of its own, or is only read."""
    return contextlib.nullcontext((None, credentials))


def _run_with_account(
    settings: "model.Settings",
    work: AccountWork,
    *,
    as_json: bool,
    use_color: bool,
    lend: Lend,
) -> int:
    from worker import logs
    from worker.cli import progress
    from worker.service import composition, shutdown
    from worker.settings import secrets

    credentials = secrets.credentials(settings, os.environ)
    logs.hide(*credentials.secrets())

    async def main() -> int:
        with progress.display(use_color=use_color) as display:
            async with (
                lend(credentials) as (lent, own),
                composition.account(settings, own, progress=display, lent=lent) as account,
            ):
                drain_seconds = settings.sync.drain_seconds
                code = await shutdown.run_until_signal(
                    account.process_shutdown,
                    lambda: work(account),
                    drain_seconds=lambda: drain_seconds,
                    hangup=True,
                )
        return code

    return run_to_exit(main, as_json=as_json)
