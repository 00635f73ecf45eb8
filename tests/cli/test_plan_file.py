"""A saved plan is loaded exactly as it was saved, or refused."""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from worker.cli import plan_file
from worker.core.model import plan_signature
from worker.core.model.desired import Mode, Origin, SourceRevision
from worker.core.model.errors import PlanFileError
from worker.core.model.identifiers import Account, DriverId, FleetId
from worker.core.model.plan import Action, Change, ConcernedDriver, Cost, GuardedPlan, HeldChange, RecentCounts
from worker.core.model.plan_digest import plan_digest
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.secret import Secret
from worker.core.model.serialization import plan_document
from worker.core.model.source_history import ShrunkSource

ACCOUNT = Account("https://api.chargeapi.co/v1", "test")
DRIVER, OTHER = DriverId("drv_" + "A" * 32), DriverId("drv_" + "B" * 32)
FLEET = FleetId("flt_" + "V" * 32)

DEPOT = FleetId("flt_" + "W" * 32)

CHANGES = (
    Change(Action.ATTACH, DRIVER, FLEET, Origin("teams/a:b.yaml", 4, 9), "fingerprint"),
    Change(Action.DETACH, OTHER, FLEET),
)
HELD = (HeldChange(Change(Action.DETACH, DRIVER, FLEET), "max_detach_fraction", "too many\nreally"),)

CREATED = datetime.datetime(2026, 10, 5, 8, 0, 0, 123000, tzinfo=datetime.UTC)

GUARDED = GuardedPlan(
    account=ACCOUNT,
    created=CREATED,
    sources=(
        SourceRevision(
            "file",
            "Zoë.yaml",
            "sha256:0",
            7,
            "json",
            CREATED - datetime.timedelta(hours=3),
        ),
        SourceRevision("file", "b.yaml", "sha256:1"),
    ),
    changes=CHANGES,
    held=HELD,
    problems=(
        Problem("Zoë.yaml:1:1", "a \x1b problem", code=ProblemCode.UNRESOLVED_DRIVER),
        Problem("journal", "it is new", note=True, code=ProblemCode.JOURNAL_NEW),
    ),
    in_sync=3,
    fleets=2,
    drivers=1,
    cost=Cost(4, 0.2),
    shrunk=(ShrunkSource("b.yaml", 0, 9, "it lost 9"),),
    digest=plan_digest(ACCOUNT, CHANGES, (held.change for held in HELD)),
    approved=(HeldChange(CHANGES[1], "flapping", "again and again"),),
    approval="sha256:1",
    concerned={
        DRIVER: ConcernedDriver(frozenset(), frozenset({FLEET})),
        OTHER: ConcernedDriver(frozenset({FLEET}), frozenset()),
    },
    modes={FLEET: Mode.EXACT, DEPOT: Mode.ADDITIVE},
    listed_unmanaged=frozenset({DEPOT}),
    recent=RecentCounts(1.5, 3, 2, 1, datetime.datetime(2026, 10, 5, 7, 0, tzinfo=datetime.UTC)),
)


KEY = Secret("sesame-open-sesame-open")
NOON = datetime.datetime(2026, 10, 5, 12, 0, tzinfo=datetime.UTC)


def load(path: pathlib.Path, *, account: Account = ACCOUNT, **rest: Any) -> GuardedPlan:
    return plan_file.load(path, **{"account": account, "key": KEY, "now": NOON, **rest})


@pytest.fixture
def saved(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "plan.json"
    plan_file.save(GUARDED, path, key=KEY)
    return path


def test_what_is_read_back_is_what_was_judged(saved: pathlib.Path) -> None:
    read = load(saved, account=ACCOUNT)
    assert read == GUARDED
    assert (read.concerned, read.modes) == (GUARDED.concerned, GUARDED.modes)
    assert read.listed_unmanaged == {DEPOT}
    assert [change.row for change in read.changes] == ["fingerprint", ""]
    assert [(each.code, each.note) for each in read.problems] == [
        (ProblemCode.UNRESOLVED_DRIVER, False),
        (ProblemCode.JOURNAL_NEW, True),
    ]
    assert plan_document(read) == plan_document(GUARDED)


def _drop_a_change(plan: dict[str, Any]) -> None:
    plan["changes"].pop()


def _let_held_through(plan: dict[str, Any]) -> None:
    plan["changes"].append({**plan["held"].pop(), "guard": None})


def _turn_round(plan: dict[str, Any]) -> None:
    plan["changes"][0]["action"] = "detach"


def _swap_driver(plan: dict[str, Any]) -> None:
    plan["changes"][0]["driver"] = OTHER


def _forge_digest(plan: dict[str, Any]) -> None:
    plan["digest"] = "sha256:" + "0" * 64


def _drop_a_driver(plan: dict[str, Any]) -> None:
    plan["drivers"].popitem()


def _want_what_is_detached(plan: dict[str, Any]) -> None:
    plan["drivers"][OTHER]["wanted"].append(FLEET)


@pytest.mark.parametrize(
    "edit",
    [
        _drop_a_change,
        _let_held_through,
        _turn_round,
        _swap_driver,
        _forge_digest,
        _drop_a_driver,
        _want_what_is_detached,
    ],
)
def test_no_change_can_be_edited(saved: pathlib.Path, edit: Callable[[dict[str, Any]], None]) -> None:
    plan = json.loads(saved.read_text())
    edit(plan)
    saved.write_text(json.dumps(plan))
    with pytest.raises(PlanFileError, match="was edited after it was saved"):
        load(saved, account=ACCOUNT)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("created",), "2026-10-05T11:00:00.000Z"),
        (("sources", 0, "revision"), "sha256:1"),
        (("problems", 0, "message"), "nothing"),
        (("summary", "in_sync"), 4),
        (("cost", "seconds"), 0.3),
        (("changes", 0, "origin"), "elsewhere.yaml:1:1"),
        (("drivers", DRIVER, "seen"), [FLEET]),
        (("fleets", DEPOT, "mode"), "exact"),
        (("approved",), []),
        (("approval",), ""),
        (("rows",), {}),
        (("summary", "window", "detached"), 0),
    ],
)
def test_nor_can_anything_else_without_the_key(saved: pathlib.Path, path: tuple[Any, ...], value: Any) -> None:
    plan = inner = json.loads(saved.read_text())
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    saved.write_text(json.dumps(plan))
    with pytest.raises(PlanFileError, match="its signature does not match"):
        load(saved)


def test_a_plan_made_by_hand_is_refused(saved: pathlib.Path) -> None:
    """It had a correct digest, detached 40 drivers past every guard, and from a fleet that nobody managed."""
    plan = json.loads(saved.read_text())
    plan["changes"].append({"action": "detach", "driver": OTHER, "fleet": "flt_" + "W" * 32, "origin": None})
    saved.write_text(_vouched(plan))
    with pytest.raises(PlanFileError, match="its signature does not match"):
        load(saved)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"fleet": "flt_" + "X" * 32}, "fleet flt_X+ has a change and is not managed"),
        ({"fleet": DEPOT}, "fleet flt_W+ has a detach and is not in exact mode"),
        ({"driver": "drv_" + "X" * 32}, "driver drv_X+ has a change and is missing in drivers"),
    ],
)
@pytest.mark.parametrize("where", ["changes", "held", "approved"])
def test_a_signed_plan_that_touches_what_it_does_not_manage_is_refused(
    saved: pathlib.Path, where: str, change: dict[str, str], why: str
) -> None:
    """Whoever has the key may sign anything."""
    plan = json.loads(saved.read_text())
    detach = {"action": "detach", "driver": OTHER, "fleet": FLEET, "origin": None, "guard": "flapping", "message": ""}
    plan[where].append({**detach, **change})
    plan[plan_signature.FIELD] = plan_signature.sign(plan, KEY)
    saved.write_text(json.dumps(plan))
    with pytest.raises(PlanFileError, match=f"is signed, but contradicts itself: {why}"):
        load(saved)


def test_a_plan_signed_with_another_key_is_refused(saved: pathlib.Path) -> None:
    with pytest.raises(PlanFileError, match="its signature does not match"):
        load(saved, key=Secret("another-long-enough-key"))


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (GUARDED.created + datetime.timedelta(hours=24, seconds=1), "is too old"),
        (GUARDED.created - datetime.timedelta(minutes=6), "in the future"),
    ],
)
def test_its_age_is_limited(saved: pathlib.Path, now: datetime.datetime, says: str) -> None:
    with pytest.raises(PlanFileError, match=says):
        load(saved, now=now)


def test_the_operator_may_allow_an_older_plan(saved: pathlib.Path) -> None:
    days = datetime.timedelta(days=3)
    assert load(saved, now=GUARDED.created + days, max_age=days) == GUARDED
    assert load(saved, now=GUARDED.created - datetime.timedelta(minutes=5)) == GUARDED


@pytest.mark.parametrize("written", ["people.xlsx:C2", "x", "x:0:1", f"x:{'9' * 5000}:1", f"x:1:{'9' * 5000}"])
def test_the_origin_of_a_change_need_not_have_a_line(tmp_path: pathlib.Path, written: str) -> None:
    origin = Origin(written, 0, 0)
    attach = dataclasses.replace(CHANGES[0], origin=origin)
    path = tmp_path / "plan.json"
    plan_file.save(dataclasses.replace(GUARDED, changes=(attach, CHANGES[1])), path, key=KEY)
    assert [each.origin for each in load(path).changes] == [origin, None]


def test_formatting_may_change(saved: pathlib.Path) -> None:
    saved.write_text(json.dumps(json.loads(saved.read_text()), sort_keys=True))
    assert load(saved, account=ACCOUNT) == GUARDED


@pytest.mark.parametrize("account", [Account("https://api.example/v1", "test"), Account(ACCOUNT.base_url, "live")])
def test_it_belongs_to_one_account(saved: pathlib.Path, account: Account) -> None:
    with pytest.raises(PlanFileError, match="was made for"):
        load(saved, account=account)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"format": "fleet-sync/report@1"}',
        b'{"format": "fleet-sync/plan@1"}',
        b'{"x":' + b"[" * 100_000,
        b'{"format": "fleet-sync/plan@1", "digest": "\\ud800"}',
    ],
)
def test_anything_else_is_no_plan(tmp_path: pathlib.Path, text: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(text)
    with pytest.raises(PlanFileError, match="is not a saved plan"):
        load(path, account=ACCOUNT)


def _unchecked(change: dict[str, str]) -> Change:
    driver, fleet = DriverId(change["driver"]), FleetId(change["fleet"])
    return Change(Action(change["action"]), driver, fleet)


def _vouched(plan: dict[str, Any]) -> str:
    """Write an edited plan with a matching digest, as someone who edits it on purpose would."""
    changes, held = ([_unchecked(each) for each in plan[name]] for name in ("changes", "held"))
    return json.dumps({**plan, "digest": plan_digest(ACCOUNT, changes, held)})


@pytest.mark.parametrize("where", ["changes", "held"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("driver", "drv_x/../../fleets?a=#"),
        ("driver", f"{DRIVER}\r\n"),
        ("driver", f"{DRIVER}/detach?"),
        ("driver", ".."),
        ("driver", ""),
        ("driver", FLEET),
        ("driver", "drv_" + "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 32),
        ("fleet", f"{FLEET}&limit=1"),
        ("fleet", "flt_short"),
        ("fleet", DRIVER),
    ],
)
def test_what_is_no_id_is_refused_whatever_the_digest_says(
    saved: pathlib.Path, where: str, name: str, text: str
) -> None:
    """An id becomes part of a path of a request that carries the key."""
    plan = json.loads(saved.read_text())
    plan[where][0][name] = text
    saved.write_text(_vouched(plan))
    with pytest.raises(PlanFileError, match=r"is not a saved plan: .* is not a valid (drv|flt)_ id") as caught:
        load(saved, account=ACCOUNT)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("created", '"0001-01-01T00:00:00+14:00"'),
        ("created", '"9999-12-31T23:59:59-14:00"'),
        ("created", '"2026-10-05T08:00:00"'),
        ("summary.in_sync", "9" * 5000),
        ("summary.drivers", "-1"),
        ("summary.fleets", "9" * 19),
        ("cost.requests", "9" * 5000),
        ("cost.seconds", "1e999"),
        ("cost.seconds", "NaN"),
        ("cost.seconds", "-0.1"),
    ],
)
def test_what_no_plan_of_ours_says_is_refused_where_it_stands(saved: pathlib.Path, path: str, value: str) -> None:
    """The digest does not cover these fields, so invalid values must be refused here."""
    plan = json.loads(saved.read_text())
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    inner = plan
    for part in parents:
        inner = inner[part]
    inner[last] = "HERE"
    saved.write_text(_vouched(plan).replace('"HERE"', value))
    with pytest.raises(PlanFileError, match="is not a saved plan"):
        load(saved, account=ACCOUNT)


@pytest.mark.parametrize("name", ["seen", "wanted"])
def test_a_driver_is_in_fleets_by_their_ids(saved: pathlib.Path, name: str) -> None:
    plan = json.loads(saved.read_text())
    plan["drivers"][DRIVER][name] = ["flt_short"]
    saved.write_text(_vouched(plan))
    with pytest.raises(PlanFileError, match=r"is not a saved plan: .* is not a valid flt_ id"):
        load(saved)


@pytest.mark.integration
def test_every_cut_of_a_plan_is_refused(saved: pathlib.Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole) - 2, 7):
        saved.write_bytes(whole[:length])
        with pytest.raises(PlanFileError):
            load(saved, account=ACCOUNT)


def test_where_it_cannot_be_read_or_written_is_reported(tmp_path: pathlib.Path) -> None:
    with pytest.raises(PlanFileError, match="cannot be read: No such file"):
        load(tmp_path / "plan.json")
    with pytest.raises(PlanFileError, match="cannot be written: No such file"):
        plan_file.save(GUARDED, tmp_path / "missing" / "plan.json", key=KEY)
    with pytest.raises(PlanFileError, match="cannot be written: Is a directory"):
        plan_file.save(GUARDED, tmp_path, key=KEY)
