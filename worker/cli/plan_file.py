"""Saves a judged plan to a file, and reads it back.

Invariant: what is read back is to the letter what was judged, for the same account, or an error. A digest proves no
author: whatever a file says is checked as a membership document is. Neighbours: `core.formats` writes the document,
`core.digest` names it, `core.references` knows an id.
"""

import datetime
import json
import pathlib
import re
from typing import Annotated, Literal

import msgspec

from worker.core.model.desired import Origin, SourceRevision
from worker.core.model.errors import PlanFileError
from worker.core.model.identifiers import Account
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.model.plan_digest import plan_digest
from worker.core.model.problem import Problem
from worker.core.model.serialization import plan_document
from worker.core.planning import references

_MOST_BYTES = 256 * 1024 * 1024
_ORIGIN = re.compile(r"(.*):([1-9][0-9]{0,8}):([1-9][0-9]{0,8})", re.DOTALL)

_Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
_Moment = Annotated[datetime.datetime, msgspec.Meta(tz=True)]


class _Account(msgspec.Struct):
    base_url: str
    mode: str


class _Source(msgspec.Struct):
    kind: str
    name: str
    revision: str


class _Change(msgspec.Struct):
    action: Literal["attach", "detach"]
    driver: str = msgspec.field()
    fleet: str = msgspec.field()
    origin: str | None = None

    def __post_init__(self) -> None:
        """See that it can be read. msgspec makes an error with its place of a ValueError."""
        self.value()

    def value(self) -> Change:
        return Change(
            Action(self.action),
            references.parse_driver_id(self.driver),
            references.parse_fleet_id(self.fleet),
            None if self.origin is None else _origin(self.origin),
        )


class _Held(_Change):
    guard: str = ""
    message: str = ""


class _Problem(msgspec.Struct):
    where: str
    message: str


class _Summary(msgspec.Struct):
    in_sync: _Count
    fleets: _Count
    drivers: _Count


class _Cost(msgspec.Struct):
    requests: _Count
    seconds: _Seconds


class _Plan(msgspec.Struct):
    format: Literal["fleet-sync/plan@1"]
    digest: str
    account: _Account
    created: _Moment
    sources: list[_Source]
    changes: list[_Change]
    held: list[_Held]
    problems: list[_Problem]
    summary: _Summary
    cost: _Cost

    def __post_init__(self) -> None:
        """See that its moment can be told in UTC."""
        try:
            self.created = self.created.astimezone(datetime.UTC)
        except OverflowError:
            raise ValueError("created is a moment outside of the calendar") from None


def save(guarded: GuardedPlan, path: pathlib.Path) -> None:
    """Save a plan. Raises errors.PlanFileError where the file cannot be written."""
    try:
        path.write_text(json.dumps(plan_document(guarded), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise PlanFileError(f"{path} cannot be written: {error.strerror}", remedy="Choose another file.") from error


def load(path: pathlib.Path, *, account: Account) -> GuardedPlan:
    """Read a plan back. Raises errors.PlanFileError where it is no plan, was edited, or is another account's."""
    plan = _decoded(path)
    saved = Account(plan.account.base_url, plan.account.mode)
    changes, held = [each.value() for each in plan.changes], [each.value() for each in plan.held]
    if plan_digest(saved, changes, held) != plan.digest:
        raise PlanFileError(f"{path} was changed after it was made: its digest does not fit")
    if saved != account:
        raise PlanFileError(
            f"{path} was made for {saved.base_url} in {saved.mode} mode, but the settings are for "
            f"{account.base_url} in {account.mode} mode",
            remedy="Use the settings and the key that the plan was made with.",
        )
    return _judged(plan, saved, changes)


def _decoded(path: pathlib.Path) -> _Plan:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MOST_BYTES), type=_Plan)
    except OSError as error:
        raise PlanFileError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanFileError(f"{path} is no saved plan: {error}") from None


def _origin(text: str) -> Origin:
    if not (found := _ORIGIN.fullmatch(text)):
        raise ValueError("an origin is a name, a line and a column with colons between them")
    return Origin(found[1], int(found[2]), int(found[3]))


def _judged(plan: _Plan, account: Account, changes: list[Change]) -> GuardedPlan:
    return GuardedPlan(
        account=account,
        created=plan.created,
        sources=tuple(SourceRevision(s.kind, s.name, s.revision) for s in plan.sources),
        changes=tuple(changes),
        held=tuple(HeldChange(each.value(), each.guard, each.message) for each in plan.held),
        problems=tuple(Problem(each.where, each.message) for each in plan.problems),
        in_sync=plan.summary.in_sync,
        fleets=plan.summary.fleets,
        drivers=plan.summary.drivers,
        cost=Cost(plan.cost.requests, plan.cost.seconds),
        digest=plan.digest,
    )
