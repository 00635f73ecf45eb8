"""Values to rows and back, without a database.

Invariant: what was written reads back as it was, but for moments, which keep their milliseconds. Neighbours: `database`
and `glance` store the rows, `archive` reads them, `memory` answers in the same words.
"""

import datetime
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from worker.core.model.desired import Origin
from worker.core.model.identifiers import DriverId, FleetId, IntentKey, Membership, RunId
from worker.core.model.outcomes import OUTCOME_NAMES, Outcome
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.ports import Intent, OpenIntent, OwnWrite, PastChange, PastRun
from worker.core.model.report import Report
from worker.core.model.serialization import format_time, outcome_document, plan_document, report_document

Row = Mapping[str, Any]
Documents = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]
"""A run's plan and report."""

_LISTS = ("changes", "held", "problems")
"""What makes a document large, and is mostly the same from run to run."""


def began(run: RunId, *, trigger: str, guarded: GuardedPlan, now: datetime.datetime) -> tuple[Row, list[Row]]:
    """Write a run that begins, and the lists of its plan."""
    columns, lists = _parted(plan=plan_document(guarded))
    return {"run": run, "trigger": trigger, "started": format_time(now), **columns}, lists


def sources(run: RunId, guarded: GuardedPlan | None) -> list[Row]:
    """Write what a run read."""
    read = guarded.sources if guarded else ()
    return [
        {"run": run, "position": position, "kind": each.kind, "name": text(each.name), "revision": each.revision}
        for position, each in enumerate(read)
    ]


def intents(run: RunId, group: Sequence[Intent], *, now: datetime.datetime) -> list[Row]:
    """Write what a run is about to do."""
    recorded = format_time(now)
    return [
        {
            "key": each.key,
            "run": run,
            "position": position,
            "recorded": recorded,
            "action": each.change.action.value,
            "driver": each.change.driver,
            "fleet": each.change.fleet,
            "origin": None if each.change.origin is None else text(str(each.change.origin)),
            "row": each.change.row,
        }
        for position, each in enumerate(group)
    ]


def settled(group: Sequence[tuple[IntentKey, Outcome]], *, now: datetime.datetime) -> list[dict[str, Any]]:
    """Write what came of intents; `intent` is the key of one."""
    at = format_time(now)
    return [
        {
            "intent": key,
            "settled": at,
            **{
                name: text(value) if isinstance(value, str) else value
                for name, value in outcome_document(outcome).items()
            },
        }
        for key, outcome in group
    ]


def finished(ended: Report, *, trigger: str) -> tuple[Row, list[Row]]:
    """Write the end of a run, and its lists. The report is kept without its plan, which has a place of its own."""
    document = report_document(ended)
    columns, lists = _parted(plan=document["plan"], report={**document, "plan": None})
    row = {
        "run": ended.run,
        "trigger": trigger,
        "started": document["started"],
        "finished": document["finished"],
        "result": document["result"],
        "exit_code": document["exit_code"],
        "outcomes": json.dumps(document["outcomes"]),
        **columns,
    }
    return row, lists


def documents(row: Row) -> Documents:
    """Read a run's plan and report, each with its lists."""
    plan, reported = (
        None if row[name] is None else {**json.loads(row[name]), **json.loads(row[f"{name}_lists"])}
        for name in ("plan", "report")
    )
    return plan, None if reported is None else {**reported, "plan": plan}


def change(row: Row) -> Change:
    """Read a change."""
    return Change(
        action=Action(row["action"]),
        driver=DriverId(row["driver"]),
        fleet=FleetId(row["fleet"]),
        origin=None if row["origin"] is None else _origin(row["origin"]),
        row=row["row"],
    )


def open_intent(row: Row) -> OpenIntent:
    """Read an intent without an outcome."""
    return OpenIntent(
        intent=Intent(key=IntentKey(row["key"]), change=change(row)),
        run=RunId(row["run"]),
        recorded=moment(row["recorded"]),
    )


def past_run(row: Row, counts: Mapping[str, int]) -> PastRun:
    """Read a run; `counts` is for one that has not ended."""
    return PastRun(
        run=RunId(row["run"]),
        trigger=row["trigger"],
        started=moment(row["started"]),
        finished=None if row["finished"] is None else moment(row["finished"]),
        result=row["result"],
        exit_code=row["exit_code"],
        outcomes=json.loads(row["outcomes"])
        if row["outcomes"]
        else {name: counts.get(name, 0) for name in OUTCOME_NAMES},
    )


def past_change(row: Row) -> PastChange:
    """Read a write."""
    return PastChange(
        run=RunId(row["run"]),
        trigger=row["trigger"],
        recorded=moment(row["recorded"]),
        key=IntentKey(row["key"]),
        change=change(row),
        outcome=row["outcome"],
        attempts=row["attempts"] or 0,
        request_id=row["request_id"],
        code=row["code"],
        message=row["message"],
    )


def own_write(action: str, row: str, recorded: str, started: str) -> OwnWrite:
    """Read a write of ours that took effect."""
    return OwnWrite(Action(action), row, moment(recorded), moment(started))


def absences(fresh: Collection[Membership], *, since: datetime.datetime) -> list[Row]:
    """Write memberships that are absent from the sources since then."""
    return [{"driver": driver, "fleet": fleet, "since": format_time(since)} for driver, fleet in sorted(fresh)]


def moment(written: str) -> datetime.datetime:
    """Read a moment."""
    return datetime.datetime.fromisoformat(written)


def text(written: str) -> str:
    """Give the text without what a database cannot hold: NUL, and halves of characters."""
    return written.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _parted(**documents: Mapping[str, Any] | None) -> tuple[dict[str, str | None], list[Row]]:
    """Part documents from their lists, each of which is named by what it says: the same is stored once."""
    columns, lists = dict[str, str | None](), list[Row]()
    for name, document in documents.items():
        if document is None:
            columns |= {name: None, f"{name}_lists": None}
            continue
        own = {each: document[each] for each in _LISTS if each in document}
        content = json.dumps(own)
        digest = hashlib.sha256(content.encode()).hexdigest()
        lists.append({"name": digest, "content": content})
        columns |= {name: json.dumps({**document, **dict.fromkeys(own)}), f"{name}_lists": digest}
    return columns, lists


def _origin(written: str) -> Origin:
    name, line, column = written.rsplit(":", 2)
    return Origin(name, int(line), int(column))
