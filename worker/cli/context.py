"""What one call of the command line brings with it: global options, and from them settings, key and logs.

Invariant: a foreseen error becomes a message with its remedy (a document with `--json`) and its exit code, never a
traceback. Neighbours: every subcommand uses this; `service.composition` makes what does the work.
"""

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import click

from worker.core.model.errors import FleetSyncError, UnknownRun

if TYPE_CHECKING:
    from worker.core.model.ports import PastRun, RunHistory
    from worker.core.model.report import Report
    from worker.service import composition
    from worker.settings import model

Work = Callable[["composition.AccountRuntime"], Awaitable[int]]

_ON_THE_PAGE = frozenset({"membership_attach", "membership_detach"})
"""Log events that a command's page repeats."""


@dataclasses.dataclass(frozen=True, slots=True)
class CommandContext:
    """The global options."""

    config: str
    log_format: Literal["auto", "console", "json"]
    log_level: str | None
    colours: bool = True

    def settings(self) -> "model.Settings":
        """Read the settings. Raises errors.SettingsError."""
        from worker.settings import loader

        return loader.load(self.config, os.environ)

    def configure_logs(self, *, service: bool = False, as_json: bool = False) -> None:
        """Set up log lines: on a terminal only what needs attention, unless a service runs there.

        There the page tells of each change that was not made; with `as_json` there is none.
        """
        from worker import logs
        from worker.cli import progress

        quiet = sys.stderr.isatty() and not service
        logs.configure(
            form=self.log_format,
            level=self.log_level or ("warning" if quiet else "info"),
            colours=self.colours,
            left_out=_ON_THE_PAGE if quiet and not as_json and self.log_level is None else frozenset(),
            before=progress.clear,
        )

    def work(self, work: Work, *, as_json: bool = False) -> int:
        """Open the account of the settings, do the work on it until it is done or a signal ends it."""

        def run() -> int:
            self.configure_logs(as_json=as_json)
            tell = functools.partial(print_failure, as_json=as_json)
            return _with_account(self.settings(), work, tell=tell)

        return self.guarded(run, as_json=as_json)

    def look_up(self, work: "Callable[[RunHistory], Awaitable[int]]", *, as_json: bool = False) -> int:
        """Open the journal of the settings for reading, and do the work on it. Needs neither key nor network."""

        def run() -> int:
            import anyio

            from worker.service import composition

            self.configure_logs()
            settings = self.settings()

            async def main() -> int:
                async with composition.record(settings) as record:
                    return await work(record)

            return anyio.run(main)

        return self.guarded(run, as_json=as_json)

    def guarded(self, run: Callable[[], int], *, as_json: bool = False) -> int:
        """Run, and tell of a foreseen error; give the exit code."""
        try:
            return run()
        except FleetSyncError as error:
            return print_failure(error, as_json=as_json)


def echo(text: str, *, err: bool = False) -> None:
    """Print, with the bar out of the way."""
    from worker.cli import progress

    progress.clear()
    click.echo(text, err=err)


def print_document(document: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_report(finished: "Report", *, as_json: bool) -> int:
    """Print a report in either form; give its exit code."""
    from worker.cli import render
    from worker.core.model.serialization import report_document

    if as_json:
        print_document(report_document(finished))
    else:
        echo(render.result(finished))
        if finished.error is not None:
            print_error(finished.error)
    return finished.exit_code


def print_failure(error: FleetSyncError, *, as_json: bool) -> int:
    """Print why there is no result, in either form; give the exit code."""
    from worker.core.model.serialization import failure_document

    if as_json:
        print_document(failure_document(error))
    else:
        print_error(error)
    return error.exit_code


def print_error(error: FleetSyncError) -> None:
    """Print what happened and what to do, on stderr."""
    from worker.cli import render

    message = "\n".join(render.printable(line) for line in error.message.split("\n"))
    echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if error.remedy:
        echo(f"  {error.remedy}", err=True)


async def find_run(record: "RunHistory", text: str) -> "PastRun":
    """Find a run by its id or the unmistakable beginning of one. Raises errors.UnknownRun."""
    from worker.core.model.identifiers import RunId

    if past := await record.run(RunId(text)):
        return past
    found = await record.run_ids(text, limit=2)
    if len(found) == 1 and (past := await record.run(found[0])):
        return past
    raise UnknownRun(f"{'several runs begin' if found else 'no run in the journal begins'} with {text!r}")


def _with_account(settings: "model.Settings", work: Work, *, tell: Callable[[FleetSyncError], int]) -> int:
    import anyio

    from worker import logs
    from worker.cli import exit_watchdog, progress
    from worker.service import composition, shutdown
    from worker.settings import secrets

    secret = secrets.api_key(settings, os.environ)
    logs.hide(secret)

    async def main() -> int:
        try:
            with progress.watch() as watcher:
                async with composition.account(settings, secret, progress=watcher) as account:
                    drain = settings.sync.drain_seconds
                    code = await shutdown.run_until_signal(
                        account.process_shutdown, lambda: work(account), drain_seconds=lambda: drain
                    )
        except FleetSyncError as error:  # told before the loop is closed, which may hang
            code = tell(error)
        exit_watchdog.exit_soon(code)
        return code

    return anyio.run(main)
