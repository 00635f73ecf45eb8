"""A saved plan: read back to the letter, or refused."""

import datetime
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from worker.cli import plan_file
from worker.core import digest, errors, formats, values

ACCOUNT = values.Account("https://api.chargeapi.co/v1", "test")
DRIVER, OTHER = values.DriverId("drv_" + "A" * 32), values.DriverId("drv_" + "B" * 32)
FLEET = values.FleetId("flt_" + "V" * 32)

CHANGES = (
    values.Change(values.Action.ATTACH, DRIVER, FLEET, values.Origin("teams/a:b.yaml", 4, 9)),
    values.Change(values.Action.DETACH, OTHER, FLEET),
)
HELD = (values.Held(values.Change(values.Action.DETACH, DRIVER, FLEET), "max_detach_fraction", "too many\nreally"),)

JUDGED = values.Judged(
    account=ACCOUNT,
    created=datetime.datetime(2026, 10, 5, 8, 0, 0, 123000, tzinfo=datetime.UTC),
    sources=(values.SourceRevision("file", "Zoë.yaml", "sha256:0"),),
    changes=CHANGES,
    held=HELD,
    problems=(values.Problem("Zoë.yaml:1:1", "a \x1b problem"),),
    in_sync=3,
    fleets=2,
    drivers=1,
    cost=values.Cost(4, 0.2),
    digest=digest.digest(ACCOUNT, CHANGES, (held.change for held in HELD)),
)


@pytest.fixture
def saved(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "plan.json"
    plan_file.save(JUDGED, path)
    return path


def test_what_is_read_back_is_what_was_judged(saved: pathlib.Path) -> None:
    read = plan_file.load(saved, account=ACCOUNT)
    assert read == JUDGED
    assert formats.plan(read) == formats.plan(JUDGED)


def _drop_a_change(plan: dict[str, Any]) -> None:
    plan["changes"].pop()


def _let_held_through(plan: dict[str, Any]) -> None:
    plan["changes"].append({**plan["held"].pop(), "guard": None})


def _turn_round(plan: dict[str, Any]) -> None:
    plan["changes"][0]["action"] = "detach"


def _swap_driver(plan: dict[str, Any]) -> None:
    plan["changes"][0]["driver"] = OTHER


def _go_live(plan: dict[str, Any]) -> None:
    plan["account"]["mode"] = "live"


def _forge_digest(plan: dict[str, Any]) -> None:
    plan["digest"] = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "edit", [_drop_a_change, _let_held_through, _turn_round, _swap_driver, _go_live, _forge_digest]
)
def test_whatever_the_digest_covers_cannot_be_edited(
    saved: pathlib.Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    plan = json.loads(saved.read_text())
    edit(plan)
    saved.write_text(json.dumps(plan))
    with pytest.raises(errors.PlanFileError, match="was changed after it was made"):
        plan_file.load(saved, account=ACCOUNT)


def test_formatting_may_change(saved: pathlib.Path) -> None:
    saved.write_text(json.dumps(json.loads(saved.read_text()), sort_keys=True))
    assert plan_file.load(saved, account=ACCOUNT) == JUDGED


@pytest.mark.parametrize(
    "account", [values.Account("https://api.example/v1", "test"), values.Account(ACCOUNT.base_url, "live")]
)
def test_it_belongs_to_one_account(saved: pathlib.Path, account: values.Account) -> None:
    with pytest.raises(errors.PlanFileError, match="was made for"):
        plan_file.load(saved, account=account)


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
    with pytest.raises(errors.PlanFileError, match="is no saved plan"):
        plan_file.load(path, account=ACCOUNT)


def test_every_cut_of_a_plan_is_refused(saved: pathlib.Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole) - 2, 7):
        saved.write_bytes(whole[:length])
        with pytest.raises(errors.PlanFileError):
            plan_file.load(saved, account=ACCOUNT)


def test_where_it_cannot_be_read_or_written_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.PlanFileError, match="cannot be read: No such file"):
        plan_file.load(tmp_path / "plan.json", account=ACCOUNT)
    with pytest.raises(errors.PlanFileError, match="cannot be written: No such file"):
        plan_file.save(JUDGED, tmp_path / "missing" / "plan.json")
    with pytest.raises(errors.PlanFileError, match="cannot be written: Is a directory"):
        plan_file.save(JUDGED, tmp_path)
