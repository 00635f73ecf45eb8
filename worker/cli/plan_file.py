"""Saves a guarded plan to a file and loads it.

Invariant: a loaded plan equals the saved plan, belongs to the same account, is signed with its key and is not too old;
anything else is an error. Its content is validated like a membership document before that. Neighbours:
`core.model.serialization` makes the document, `core.model.plan_signature` signs it.
"""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from worker.core.model import plan_signature
from worker.core.model.desired import Mode, Origin, SourceRevision
from worker.core.model.errors import PlanFileError
from worker.core.model.identifiers import Account, DriverId, FleetId
from worker.core.model.people import Person, clean
from worker.core.model.plan import Action, Change, ConcernedDriver, Cost, GuardedPlan, HeldChange, RecentCounts
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.secret import Secret
from worker.core.model.serialization import saved_plan_document
from worker.core.model.source_history import ShrunkSource
from worker.core.planning import references

MAX_AGE = datetime.timedelta(hours=24)
"""How old a plan may be when it is applied, unless the operator says otherwise."""

_CLOCK_SKEW = datetime.timedelta(minutes=5)
"""How far in the future a plan may be dated: it may come from another machine."""

_MAX_BYTES = 256 * 1024 * 1024

_Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
_Timestamp = Annotated[datetime.datetime, msgspec.Meta(tz=True)]


class _Account(msgspec.Struct):
    base_url: str
    mode: str


class _Source(msgspec.Struct):
    kind: str
    name: str
    revision: str
    rows: _Count
    modified: _Timestamp | None
    proof: str

    def value(self) -> SourceRevision:
        return SourceRevision(self.kind, self.name, self.revision, self.rows, self.proof, self.modified)


class _Shrunk(msgspec.Struct):
    source: str
    rows: _Count
    baseline: _Count
    message: str


class _Change(msgspec.Struct):
    action: Literal["attach", "detach"]
    driver: str = msgspec.field()
    fleet: str = msgspec.field()
    origin: str | None = None

    def __post_init__(self) -> None:
        """Validate the ids. msgspec turns a ValueError into an error with the position."""
        self.value()

    def value(self) -> Change:
        return Change(
            Action(self.action),
            references.parse_driver_id(self.driver),
            references.parse_fleet_id(self.fleet),
            None if self.origin is None else Origin.parse(self.origin),
        )


class _Held(_Change):
    guard: str = ""
    message: str = ""


class _Problem(msgspec.Struct):
    where: str
    message: str
    code: ProblemCode
    remedy: str | None
    note: bool = False

    def value(self) -> Problem:
        return Problem(self.where, self.message, note=self.note, code=self.code, remedy=self.remedy or "")


class _Window(msgspec.Struct):
    hours: _Seconds
    since: _Timestamp | None
    detached: _Count
    attached: _Count
    approved: _Count


class _Summary(msgspec.Struct):
    in_sync: _Count
    fleets: _Count
    drivers: _Count
    window: _Window


class _Cost(msgspec.Struct):
    requests: _Count
    seconds: _Seconds


class _Driver(msgspec.Struct):
    seen: list[str]
    wanted: list[str]

    def __post_init__(self) -> None:
        """Validate the ids."""
        self.value()

    def value(self) -> ConcernedDriver:
        return ConcernedDriver(
            frozenset(map(references.parse_fleet_id, self.seen)), frozenset(map(references.parse_fleet_id, self.wanted))
        )


class _Fleet(msgspec.Struct):
    mode: Mode
    listed_unmanaged: bool = False


_DriverId = Annotated[str, msgspec.Meta(pattern="^drv_[A-Za-z0-9]{32}$")]
_FleetId = Annotated[str, msgspec.Meta(pattern="^flt_[A-Za-z0-9]{32}$")]


class _Plan(msgspec.Struct):
    format: Literal["fleet-sync/plan@1"]
    signature: str
    digest: str
    account: _Account
    created: _Timestamp
    sources: list[_Source]
    changes: list[_Change]
    held: list[_Held]
    shrunk: list[_Shrunk]
    problems: list[_Problem]
    summary: _Summary
    cost: _Cost
    approval: str
    approved: list[_Held]
    dated: list[_Change]
    fleets: dict[_FleetId, _Fleet]
    drivers: dict[_DriverId, _Driver]
    rows: dict[str, str]
    unsettled: bool = False
    names: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Convert `created` to UTC, or fail if it has no date there."""
        try:
            self.created = self.created.astimezone(datetime.UTC)
        except OverflowError:
            raise ValueError("created is outside of the calendar") from None

    def contradiction(self) -> str:
        """Return what makes it impossible that a plan of ours says this, or an empty text."""
        for each in (*self.changes, *self.held, *self.approved):
            if each.driver not in self.drivers:
                return f"driver {each.driver} has a change and is missing in drivers"
            if each.fleet not in self.fleets:
                return f"fleet {each.fleet} has a change and is not managed"
            if each.action == "detach" and self.fleets[each.fleet].mode is not Mode.EXACT:
                return f"fleet {each.fleet} has a detach and is not in exact mode"
        return ""

    def change(self, each: _Change) -> Change:
        """Return a change with the fingerprint of its row."""
        return dataclasses.replace(each.value(), row=self.rows.get(f"{each.driver}/{each.fleet}", ""))

    def holds(self, several: Iterable[_Held]) -> tuple[HeldChange, ...]:
        """Return held changes."""
        return tuple(HeldChange(self.change(each), each.guard, each.message) for each in several)


def save(guarded: GuardedPlan, path: pathlib.Path, *, key: Secret) -> None:
    """Save a plan, signed with `key`. Raise errors.PlanFileError if the file cannot be written."""
    document = saved_plan_document(guarded)
    signed = {**document, plan_signature.FIELD: plan_signature.sign(document, key)}
    try:
        path.write_text(json.dumps(signed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise PlanFileError(f"{path} cannot be written: {error.strerror}", remedy="Choose another file.") from error


def load(
    path: pathlib.Path,
    *,
    account: Account,
    key: Secret,
    now: datetime.datetime,
    max_age: datetime.timedelta = MAX_AGE,
) -> GuardedPlan:
    """Load a plan that was signed with `key`.

    Raises errors.PlanFileError if it is invalid, was edited, is too old, or belongs to another account.
    """
    data = _read(path)
    plan = _decode(path, data)
    saved = Account(plan.account.base_url, plan.account.mode)
    if saved != account:
        raise PlanFileError(
            f"{path} was made for {saved.base_url} in {saved.mode} mode, but the settings are for "
            f"{account.base_url} in {account.mode} mode",
            remedy="Use the settings and the key that the plan was made with.",
        )
    if not plan_signature.is_signed(msgspec.json.decode(data), key):
        raise PlanFileError(
            f"{path} was edited after it was saved, or was saved with another key: its signature does not match"
        )
    if contradiction := plan.contradiction():
        raise PlanFileError(f"{path} is signed, but contradicts itself: {contradiction}")
    _check_age(path, plan.created, now=now, max_age=max_age)
    return _guarded_plan(plan, saved)


def _check_age(
    path: pathlib.Path, created: datetime.datetime, *, now: datetime.datetime, max_age: datetime.timedelta
) -> None:
    if created > now + _CLOCK_SKEW:
        raise PlanFileError(
            f"{path} is dated {created:%Y-%m-%d %H:%M} UTC, which is in the future",
            remedy="Set the clocks of the machines that made the plan and that apply it. Nothing was changed.",
        )
    if now - created > max_age:
        raise PlanFileError(
            f"{path} is too old: it was saved at {created:%Y-%m-%d %H:%M} UTC",
            remedy="Create a new plan with `fleet-sync plan --out FILE`, or raise `--max-age`. Nothing was changed.",
        )


def _read(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise PlanFileError(f"{path} cannot be read: {error.strerror}") from error


def _decode(path: pathlib.Path, data: bytes) -> _Plan:
    try:
        return msgspec.json.decode(data, type=_Plan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanFileError(f"{path} is not a saved plan: {error}") from None


def _guarded_plan(plan: _Plan, account: Account) -> GuardedPlan:
    return GuardedPlan(
        account=account,
        created=plan.created,
        sources=tuple(each.value() for each in plan.sources),
        changes=tuple(map(plan.change, plan.changes)),
        held=plan.holds(plan.held),
        problems=tuple(each.value() for each in plan.problems),
        in_sync=plan.summary.in_sync,
        fleets=plan.summary.fleets,
        drivers=plan.summary.drivers,
        cost=Cost(plan.cost.requests, plan.cost.seconds),
        digest=plan.digest,
        unsettled=plan.unsettled,
        approved=plan.holds(plan.approved),
        approval=plan.approval,
        shrunk=tuple(ShrunkSource(each.source, each.rows, each.baseline, each.message) for each in plan.shrunk),
        dated=frozenset(each.value() for each in plan.dated),
        concerned={DriverId(driver): each.value() for driver, each in plan.drivers.items()},
        people={DriverId(id): Person(clean(name)) for id, name in plan.names.items() if id.startswith("drv_")},
        fleet_names={FleetId(id): clean(name) for id, name in plan.names.items() if id.startswith("flt_")},
        modes={FleetId(fleet): each.mode for fleet, each in plan.fleets.items()},
        listed_unmanaged=frozenset(FleetId(fleet) for fleet, each in plan.fleets.items() if each.listed_unmanaged),
        recent=_recent(plan.summary.window),
    )


def _recent(window: _Window) -> RecentCounts:
    since = None if window.since is None else window.since.astimezone(datetime.UTC)
    return RecentCounts(window.hours, window.detached, window.attached, window.approved, since)
