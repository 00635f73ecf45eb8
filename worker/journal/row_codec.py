"""Converts values to rows of the journal and back, without a database.

Invariant: what was written reads back as it was, except that times keep only milliseconds. A plan and a report are
stored without the changes that the run's intents already say, and are put together again when they are read.
Neighbours: `queries` has the statements that write and read these rows, `sql_journal` runs them.
"""

import datetime
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from worker.core.model.desired import Origin
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, Membership, RunId
from worker.core.model.outcomes import NOT_CONVERGING, OUTCOME_NAMES, Outcome
from worker.core.model.pauses import Pause
from worker.core.model.people import Person, mentioned
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.ports import (
    Intent,
    JournalOwner,
    OpenIntent,
    OwnWrite,
    PastApproval,
    PastChange,
    PastRefusals,
    PastRun,
    RecentChanges,
)
from worker.core.model.report import LearnedRate, Report
from worker.core.model.secret import redact
from worker.core.model.serialization import format_time, outcome_document, plan_document, report_document
from worker.core.model.source_history import RowCount, SourceRecord
from worker.core.planning import near_misses
from worker.journal import forgetting

Row = Mapping[str, Any]
Document = Mapping[str, Any]
Write = tuple[Action, DriverId, FleetId]

_DONE = ("applied", "already")
_OUTCOME = ("outcome", "attempts", "request_id", "code", "message")
_SHARED = ("held", "problems")
"""The lists of a document that are often the same in one run after the other."""


# --- To rows ----------------------------------------------------------------------------------------------


def begun(
    run: RunId,
    *,
    trigger: str,
    guarded: GuardedPlan,
    written: Sequence[Row],
    now: datetime.datetime,
    forgotten: forgetting.Tombstones,
) -> tuple[Row, list[Row]]:
    """Return the row of a run that begins with these rows of intents, and those of its lists."""
    plan, lists = _stored("plan", plan_document(guarded), written, erase=forgotten.eraser(guarded.people))
    ending = dict.fromkeys(("finished", "result", "exit_code", "outcomes", "report", "report_lists"))
    return {"run": run, "trigger": trigger, "started": format_time(now), **plan, **ending}, [lists]


def finished(
    ended: Report, *, trigger: str, written: Sequence[Row], forgotten: forgetting.Tombstones
) -> tuple[Row, list[Row]]:
    """Return the row of a run that ended, and those of its lists; `written` are its intents by now."""
    document = report_document(ended)
    erase = forgotten.eraser(ended.guarded.people if ended.guarded else None)
    report, lists = _stored("report", {**document, "plan": None}, written, erase=erase)
    row = {
        "run": ended.run,
        "trigger": trigger,
        **{name: document[name] for name in ("started", "finished", "result", "exit_code")},
        "outcomes": json.dumps(document["outcomes"]),
        **report,
    }
    if document["plan"] is None:
        return {**row, "plan": None, "plan_lists": None}, [lists]
    plan, plan_lists = _stored("plan", document["plan"], written, erase=erase)
    return {**row, **plan}, [lists, plan_lists]


def intents(group: Sequence[Intent], *, first: int = 0) -> list[Row]:
    """Return the rows of intents; `first` is the position of the first one in its run."""
    return [
        {
            "position": position,
            "key": each.key,
            "action": each.change.action.value,
            "driver": each.change.driver,
            "fleet": each.change.fleet,
            "origin": None if each.change.origin is None else text(str(each.change.origin)),
            "fingerprint": each.change.row,
            "approved": int(each.approved),
        }
        for position, each in enumerate(group, first)
    ]


def names(people: Mapping[DriverId, Person], forgotten: forgetting.Tombstones) -> list[Row]:
    """Return the rows of people who were not forgotten."""
    return [
        {
            "driver": driver,
            "name": each.name,
            "email": each.email,
            "folded_name": folded(each.name),
            "folded_email": folded(each.email),
        }
        for driver, each in sorted(people.items())
        if driver not in forgotten
    ]


def folded(name: str) -> str:
    """Return a name or an e-mail address as it is searched for."""
    return text(near_misses.fold(name))


def outcomes(group: Sequence[tuple[IntentKey, Outcome]]) -> list[Row]:
    """Return the rows that fill in outcomes. The last of several outcomes of one intent counts."""
    return [
        {"key": key, **{name: text(value) if isinstance(value, str) else value for name, value in row.items()}}
        for key, row in ((key, outcome_document(outcome)) for key, outcome in dict(group).items())
    ]


def fleets(known: JournalOwner, seen: Mapping[FleetId, str], managed: Collection[FleetId]) -> list[Row]:
    """Return the rows of the fleets that are not known with this name and as managed or not."""
    now = {**known.fleets, **{fleet: text(name) for fleet, name in seen.items()}}
    return [
        {"fleet": fleet, "name": name, "managed": int(fleet in managed)}
        for fleet, name in sorted(now.items())
        if known.fleets.get(fleet) != name or (fleet in known.managed) != (fleet in managed)
    ]


def memberships(each: Collection[Membership]) -> list[Row]:
    """Return the rows of memberships."""
    return [{"driver": driver, "fleet": fleet} for driver, fleet in sorted(each)]


def source_records(records: Mapping[str, SourceRecord]) -> list[Row]:
    """Return the rows of what is remembered of sources."""
    return [
        {
            "source": text(name),
            "counts": json.dumps([[count.rows, format_time(count.seen)] for count in record.counts]),
            "fleets": json.dumps(sorted(record.fleets)),
            "version": record.version,
        }
        for name, record in records.items()
    ]


def text(written: str) -> str:
    """Return the text without what a database cannot store: NUL, and halves of surrogate pairs."""
    return written.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def remark(written: str) -> str:
    """Return what a person wrote, who they are or why, without anything that looks like a key."""
    return text(redact(written))


def _stored(name: str, document: Document, written: Sequence[Row], *, erase: Callable[[str], str]) -> tuple[Row, Row]:
    """Return a document as columns of its run, and the row of what it may share with other runs.

    Its names are not stored with it: the journal has them in one place.
    """
    nameless = {key: value for key, value in document.items() if key != "names"}
    whole: Document = forgetting.erased(nameless, erase)
    used, rest = _remainder(whole["changes"], list(map(_DERIVED[name], written)))
    shared = {each: whole[each] for each in _SHARED if each in whole}
    content = json.dumps({**shared, "changes": rest})
    digest = hashlib.sha256(content.encode()).hexdigest()
    stub = {**whole, **dict.fromkeys(shared), "changes": used}
    columns = {name: json.dumps(stub, separators=(",", ":")), f"{name}_lists": digest}
    return columns, {"name": digest, "content": content}


def _remainder(whole: Sequence[Document], derived: Sequence[Document]) -> tuple[int, list[tuple[int, Document]]]:
    """Return how many of `derived` appear in `whole` in this order, and the other items, each with its place."""
    used, rest = 0, []
    for place, each in enumerate(whole):
        if used < len(derived) and each == derived[used]:
            used += 1
        else:
            rest.append((place, each))
    return used, rest


def _planned(row: Row) -> Document:
    """Return an intent as `plan_document` lists its change."""
    return {name: row[name] for name in ("action", "driver", "fleet", "origin")}


def _resulted(row: Row) -> Document:
    """Return an intent as `report_document` lists its change with the outcome."""
    repair = {"repair": True} if row["repair"] else {}
    return {**{name: row[name] for name in ("action", "driver", "fleet", *_OUTCOME)}, **repair}


_DERIVED = {"plan": _planned, "report": _resulted}
"""How each document lists the intents of its run."""


# --- From rows --------------------------------------------------------------------------------------------


def documents(
    row: Row, written: Sequence[Row], names: Callable[[Iterable[str]], Mapping[str, str]]
) -> tuple[Document | None, Document | None]:
    """Return the plan and the report of a run whose intents are `written`; `names` looks up what ids are called."""
    plan, report = _restored(row, "plan", written), _restored(row, "report", written)
    known = {} if plan is None else {"names": names(named_ids(plan))}
    plan = None if plan is None else {**plan, **known}
    return plan, None if report is None else {**report, "plan": plan, "names": known.get("names", {})}


def named_ids(plan: Document) -> frozenset[str]:
    """Return the ids of the drivers and fleets that a plan is about."""
    every = [*plan["changes"], *plan["held"]]
    problems = [f"{each['where']}: {each['message']}" for each in plan["problems"]]
    return mentioned(problems) | {each[kind] for each in every for kind in ("driver", "fleet")}


def _restored(row: Row, name: str, written: Sequence[Row]) -> Document | None:
    if row[name] is None:
        return None
    stub, lists = json.loads(row[name]), json.loads(row[f"{name}_lists"])
    changes = list(map(_DERIVED[name], written[: stub["changes"]]))
    for place, each in lists["changes"]:
        changes.insert(place, each)
    problems = [{"note": False, **each} for each in lists["problems"]]  # older runs do not say what is a note
    return {**stub, **lists, "changes": changes, "problems": problems}


def owner(owners: Sequence[Row], known: Sequence[Row]) -> JournalOwner:
    """Return whose journal it is, and which fleets it knows."""
    return JournalOwner(
        account=Account(owners[0]["base_url"], owners[0]["mode"]) if owners else None,
        fleets={FleetId(row["fleet"]): row["name"] for row in known},
        managed=frozenset(FleetId(row["fleet"]) for row in known if row["managed"]),
        learned=next(
            (LearnedRate(row["learned_rate"], time(row["learned"])) for row in owners if row["learned"]), None
        ),
    )


def same_outcome(row: Row, other: Row) -> bool:
    """Return whether two rows have the same outcome."""
    return all(row[name] == other[name] for name in _OUTCOME)


def change(row: Row) -> Change:
    """Return the change of an intent."""
    return Change(
        action=Action(row["action"]),
        driver=DriverId(row["driver"]),
        fleet=FleetId(row["fleet"]),
        origin=None if row["origin"] is None else Origin.parse(row["origin"]),
        row=row["fingerprint"],
    )


def open_intent(row: Row) -> OpenIntent:
    """Return an intent without a final outcome."""
    return OpenIntent(
        intent=Intent(key=IntentKey(row["key"]), change=change(row), approved=bool(row["approved"])),
        run=RunId(row["run"]),
        recorded=time(row["recorded"]),
        attempts=row["attempts"] or 0,
        last_attempt=_time_or_none(row["settled"]),
        code=row["code"],
        resent=bool(row["resent"]),
    )


def past_run(row: Row, counts: Mapping[str, int]) -> PastRun:
    """Return a run; `counts` is for one that has not ended."""
    approval = PastApproval(row["approval"], row["approved_by"] or "", _time_or_none(row["approved"]))
    return PastRun(
        run=RunId(row["run"]),
        trigger=row["trigger"],
        started=time(row["started"]),
        finished=_time_or_none(row["finished"]),
        result=row["result"],
        exit_code=row["exit_code"],
        outcomes=json.loads(row["outcomes"]) if row["outcomes"] else dict.fromkeys(OUTCOME_NAMES, 0) | {**counts},
        approval=None if row["approval"] is None else approval,
    )


def past_change(row: Row) -> PastChange:
    """Return a write."""
    return PastChange(
        run=RunId(row["run"]),
        trigger=row["trigger"],
        recorded=time(row["recorded"]),
        key=IntentKey(row["key"]),
        change=change(row),
        outcome=row["outcome"],
        attempts=row["attempts"] or 0,
        request_id=row["request_id"],
        code=row["code"],
        message=row["message"],
    )


def pause(row: Row) -> Pause:
    """Return a pause, which is of all fleets if it names none."""
    since, until = time(row["since"]), _time_or_none(row["until"])
    return Pause(since, until, by=row["paused_by"], reason=row["reason"], fleet=row["fleet"] or None)


def source_record(row: Row) -> SourceRecord:
    """Return what is remembered of a source."""
    counts = tuple(RowCount(rows, time(seen)) for rows, seen in json.loads(row["counts"]))
    return SourceRecord(counts, frozenset(map(FleetId, json.loads(row["fleets"]))), row["version"])


def recent_changes(row: Row) -> RecentChanges:
    """Return how many writes of one run in one fleet took effect or may have."""
    fleet, action, made = FleetId(row["fleet"]), Action(row["action"]), time(row["recorded"])
    return RecentChanges(fleet, action, made, row["number"], approved=bool(row["approved"]))


def latest(rows: Iterable[Row]) -> dict[Membership, tuple[OwnWrite, ...]]:
    """Return writes that took effect by membership, in the order of the rows."""
    found: dict[Membership, tuple[OwnWrite, ...]] = {}
    for row in rows:
        write = OwnWrite(Action(row["action"]), row["fingerprint"], time(row["recorded"]), time(row["started"]))
        membership = (row["driver"], row["fleet"])
        found[membership] = (*found.get(membership, ()), write)
    return found


def unconfirmed(rows: Iterable[Row]) -> dict[Write, int]:
    """Count how often each write was accepted and not seen, since it was last seen. The oldest row comes first."""
    counts: dict[Write, int] = {}
    for row in rows:
        if row["code"] == NOT_CONVERGING:
            counts[_write(row)] = counts.get(_write(row), 0) + 1
        elif row["outcome"] in _DONE:
            counts.pop(_write(row), None)
    return counts


def refusals(rows: Iterable[Row]) -> dict[Write, PastRefusals]:
    """Return the refusals in a row of each write, since it was last done. The oldest row comes first.

    A write that was accepted and not seen counts as refused. Refusals for another row of the source do not count.
    """
    found: dict[Write, PastRefusals] = {}
    for row in rows:
        before = found.pop(_write(row), None)
        if row["code"] == NOT_CONVERGING or row["outcome"] not in _DONE:
            same = before is not None and before.row == row["fingerprint"]
            found[_write(row)] = PastRefusals(
                row=row["fingerprint"],
                count=before.count + 1 if before and same else 1,
                last=time(row["settled"]),
                code=row["code"],
                message=row["message"],
                request_id=row["request_id"],
            )
    return found


def time(written: str) -> datetime.datetime:
    """Return a time."""
    return datetime.datetime.fromisoformat(written)


def _time_or_none(written: str | None) -> datetime.datetime | None:
    return None if written is None else time(written)


def _write(row: Row) -> Write:
    return Action(row["action"]), DriverId(row["driver"]), FleetId(row["fleet"])
