"""When a write counts as unconfirmed, or as refused, and what runs of earlier versions say."""

import json

import pytest

from tests.journal import journal_factories
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.outcomes import NOT_CONVERGING
from worker.core.model.plan import Action
from worker.core.model.serialization import format_time
from worker.journal import row_codec

ATTACH: row_codec.Write = (Action.ATTACH, DriverId("drv_a"), FleetId("flt_a"))
DETACH: row_codec.Write = (Action.DETACH, DriverId("drv_a"), FleetId("flt_a"))
OTHER: row_codec.Write = (Action.ATTACH, DriverId("drv_b"), FleetId("flt_a"))

Past = tuple[row_codec.Write, str | None, str | None]
UNSEEN = ("unknown", NOT_CONVERGING)
DONE = ("applied", None)


@pytest.mark.parametrize(
    ("history", "counted"),
    [
        ([], {}),
        ([(ATTACH, *UNSEEN)], {ATTACH: 1}),
        ([(ATTACH, *UNSEEN), (OTHER, *UNSEEN), (ATTACH, *UNSEEN)], {ATTACH: 2, OTHER: 1}),
        # seen at last
        ([(ATTACH, *UNSEEN), (ATTACH, *DONE)], {}),
        ([(ATTACH, *UNSEEN), (ATTACH, "already", None), (ATTACH, *UNSEEN)], {ATTACH: 1}),
        # what was not answered as done counts for nothing, and ends nothing
        ([(ATTACH, *UNSEEN), (ATTACH, "unknown", "charge_fault"), (ATTACH, "refused", "gone")], {ATTACH: 1}),
        # another write of the same membership is another matter
        ([(ATTACH, *UNSEEN), (DETACH, *DONE)], {ATTACH: 1}),
    ],
)
def test_a_write_counts_until_it_was_seen(history: list[Past], counted: dict[row_codec.Write, int]) -> None:
    assert row_codec.unconfirmed(map(_row, history)) == counted


def _row(past: Past, *, fingerprint: str = "abc", number: int = 0) -> row_codec.Row:
    (action, driver, fleet), outcome, code = past
    return {
        "action": action.value,
        "driver": driver,
        "fleet": fleet,
        "fingerprint": fingerprint,
        "settled": format_time(journal_factories.minutes(number)),
        "outcome": outcome,
        "code": code,
        "message": f"number {number}",
        "request_id": None,
    }


REFUSED = ("refused", "driver_not_found")


@pytest.mark.parametrize(
    ("history", "counted"),
    [
        ([(*REFUSED, "abc")], 1),
        ([(*REFUSED, "abc"), (*UNSEEN, "abc")], 2),
        ([(*REFUSED, "abc"), (*DONE, "abc"), (*REFUSED, "abc")], 1),
        ([(*REFUSED, "abc"), (*DONE, "abc")], None),
        ([(*REFUSED, "abc"), (*REFUSED, "abc"), (*REFUSED, "xyz")], 1),
    ],
)
def test_refusals_of_one_row_count_until_the_change_is_done(
    history: list[tuple[str, str | None, str]], counted: int | None
) -> None:
    rows = [
        _row((ATTACH, outcome, code), fingerprint=fingerprint, number=number)
        for number, (outcome, code, fingerprint) in enumerate(history)
    ]
    found = row_codec.refusals(rows).get(ATTACH)
    assert (found and found.count) == counted
    if found:
        assert found.row == history[-1][2]
        assert (found.last, found.message) == (
            journal_factories.minutes(len(history) - 1),
            f"number {len(history) - 1}",
        )


def test_a_run_of_an_earlier_version_says_of_no_problem_that_it_is_a_note() -> None:
    problems = [{"where": "a", "message": "no driver has it"}, {"where": "b", "message": "twice", "note": True}]
    stub = {"changes": 0, "held": None, "problems": None}
    lists = {"changes": [], "held": [], "problems": problems}
    row = {"plan": json.dumps(stub), "plan_lists": json.dumps(lists), "report": None, "report_lists": None}
    plan, report = row_codec.documents(row, [], lambda ids: {})
    assert plan is not None and report is None
    assert [each["note"] for each in plan["problems"]] == [False, True]
