"""`fleet-sync audit`: the record as a stream of runs and changes, which can be continued where it ended.

Invariants: runs come in the order of recording, which no clock changes, each with its changes; a run in progress is
left to the next call. Neighbours: `record_commands` looks single things up, `render_history` formats the text.
"""

import csv
import functools
import io
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from worker.cli import context, help_page

if TYPE_CHECKING:
    import datetime

    from worker.core.model.identifiers import RunId
    from worker.core.model.ports import PastChange, PastRun, RunHistory

FORMAT = "fleet-sync/audit@1"
COLUMNS = (
    "record",
    "run",
    "time",
    "trigger",
    "result",
    "exit_code",
    "action",
    "driver",
    "driver_name",
    "fleet",
    "fleet_name",
    "origin",
    "outcome",
    "attempts",
    "request_id",
    "code",
    "message",
    "approved_digest",
    "approved_by",
    "approved",
)
"""The columns of a table. A line of JSON has the same fields, without those that its record does not have."""

_Format = Literal["text", "jsonl", "csv"]
_BATCH = 500
_FORMULA = ("=", "+", "-", "@")

_EXAMPLES = """\
fleet-sync audit
fleet-sync audit --since run_39509cd1 --format text | less
fleet-sync audit --since run_39509cd1 >> audit.jsonl
fleet-sync audit --since 2026-11-01 --format csv > november.csv"""


@click.command(cls=help_page.Command, epilog=_EXAMPLES)
@click.option(
    "--since", metavar="RUN|TIME", help="Begin after this run, or with the first run that began at this time or later."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl", "csv"]),
    help="How to print [default: text on a terminal, jsonl elsewhere].",
)
@click.pass_obj
def audit(command_context: context.CommandContext, since: str | None, form: _Format | None) -> int:
    """Print the record as a stream: every run with its changes, the oldest first.

    To continue later, pass --since and the id of the last run that was printed.
    """
    chosen = form or ("text" if sys.stdout.isatty() else "jsonl")
    return command_context.with_journal(functools.partial(_audit, since=since, form=chosen))


async def _audit(record: "RunHistory", *, since: str | None, form: _Format) -> int:
    after, begin = await _start(record, since)
    if form == "csv":
        context.print_verbatim(_row(COLUMNS))
    async for past in _runs(record, after):
        if begin is None or past.started >= begin:
            await _print_run(record, past, form)
    return 0


async def _start(record: "RunHistory", since: str | None) -> "tuple[RunId | None, datetime.datetime | None]":
    """Return the run to begin after, and the time to begin at. Raise errors.UnknownRun if `since` is neither."""
    from worker.sources import membership_document

    if since is None:
        return None, None
    if since.startswith("run_"):
        return (await context.find_run(record, since)).run, None
    try:
        return None, membership_document.moment(since)
    except ValueError as error:
        raise click.BadParameter(f"neither a run nor a time: {error}", param_hint="--since") from None


async def _runs(record: "RunHistory", after: "RunId | None") -> "AsyncIterator[PastRun]":
    """Yield the runs after this one, except for the last if it has not ended: its changes are not all known yet."""
    waiting: PastRun | None = None
    while batch := await record.runs_after(after, limit=_BATCH):
        for past in batch:
            if waiting is not None:
                yield waiting
            waiting = past
        after = batch[-1].run
    if waiting is not None and waiting.finished is not None:
        yield waiting


async def _print_run(record: "RunHistory", past: "PastRun", form: _Format) -> None:
    from worker.cli import render_history

    has_changes = past.finished is None or any(past.outcomes.values())
    changes = await record.changes(run=past.run) if has_changes else ()
    ids = {id for each in changes for id in (each.change.driver, each.change.fleet)}
    names = await record.names(ids) if ids else {}
    if form == "text":
        context.print_text(render_history.audited(past, changes, names=names))
        return
    write = _json if form == "jsonl" else _csv
    for fields in _records(past, changes, names):
        context.print_verbatim(write(fields))


def _records(past: "PastRun", changes: "Sequence[PastChange]", names: "Mapping[str, str]") -> Iterator[dict[str, Any]]:
    """Yield the fields of a run and of each of its changes."""
    from worker.core.model.serialization import format_time

    same = {"run": past.run, "time": format_time(past.started), "trigger": past.trigger}
    yield {"record": "run", **same, "result": past.result, "exit_code": past.exit_code, **_approval(past)}
    for each in changes:
        change = each.change
        yield {
            "record": "change",
            **same,
            "time": format_time(each.recorded),
            "action": change.action.value,
            "driver": change.driver,
            "driver_name": names.get(change.driver),
            "fleet": change.fleet,
            "fleet_name": names.get(change.fleet),
            "origin": None if change.origin is None else str(change.origin),
            "outcome": each.outcome,
            "attempts": each.attempts,
            "request_id": each.request_id,
            "code": each.code,
            "message": each.message,
        }


def _approval(past: "PastRun") -> dict[str, str | None]:
    """Return which held changes an approval allowed in this run, who gave it and when, or nothing."""
    from worker.core.model.serialization import approval_document

    approval = approval_document(past.approval) if past.approval else {}
    return {
        "approved_digest": approval.get("digest"),
        "approved_by": approval.get("by"),
        "approved": approval.get("approved"),
    }


def _json(fields: dict[str, Any]) -> str:
    return json.dumps({"format": FORMAT, **fields}, ensure_ascii=False)


def _csv(fields: dict[str, Any]) -> str:
    return _row([_cell(fields.get(column)) for column in COLUMNS])


def _row(cells: "tuple[str, ...] | list[str]") -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _cell(value: object) -> str:
    """Return a value as a cell on one line, which no spreadsheet takes for a formula."""
    text = "" if value is None else "".join(each if each.isprintable() else " " for each in str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text
