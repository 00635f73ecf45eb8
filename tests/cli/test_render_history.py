"""The text of journal records: one line for each run or change, with names."""

import datetime
from typing import Any

import pytest

from worker.cli import render_history
from worker.core.model.desired import Origin
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.plan import Action, Change
from worker.core.model.ports import PastApproval, PastChange, PastRun

NOW = datetime.datetime(2026, 10, 5, 10, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
DRIVER, FLEET = DriverId("drv_" + "A" * 32), FleetId("flt_" + "V" * 32)
ATTACH = Change(Action.ATTACH, DRIVER, FLEET, Origin("teams\x1b[2J.yaml", 3, 7))
DETACH = Change(Action.DETACH, DRIVER, FLEET)
NAMES = {DRIVER: "Emma\x1b Bakker", FLEET: "Vans"}
EMMA = f"Emma\ufffd Bakker {DRIVER}"


def _run(**fields: Any) -> PastRun:
    known: dict[str, Any] = {
        "run": "run_1",
        "trigger": "once",
        "started": NOW,
        "finished": NOW,
        "result": "partial",
        "exit_code": 4,
        "outcomes": {"applied": 3, "refused": 1, "unknown": 0},
    }
    return PastRun(**{**known, **fields})


def _change(change: Change = ATTACH, **fields: Any) -> PastChange:
    known: dict[str, Any] = {
        "run": "run_1",
        "trigger": "once",
        "recorded": NOW,
        "key": "key-1",
        "change": change,
        "outcome": "applied",
        "attempts": 1,
        "request_id": "req_1",
        "code": None,
        "message": None,
    }
    return PastChange(**{**known, **fields})


def _plain(page: str) -> str:
    for code in ("0", "1", "2", "31", "32"):
        page = page.replace(f"\x1b[{code}m", "")
    return page


def test_history_shows_when_how_and_with_what_outcome() -> None:
    cut_off = _run(run="run_2", trigger="interval", finished=None, result=None, exit_code=None, outcomes={"applied": 0})
    several = {"drv_1": "Noah", "drv_2": "emma\x1b", "drv_3": "Zoé"}
    assert render_history.history([(cut_off, {}), (_run(), {"drv_1": "Noah"}), (_run(), several)]).splitlines() == [
        "2026-10-05 08:30:00Z  run_2  interval  not finished",
        "2026-10-05 08:30:00Z  run_1  once      partial: 3 applied, 1 refused  Noah",
        "2026-10-05 08:30:00Z  run_1  once      partial: 3 applied, 1 refused  emma\ufffd, Noah and others",
    ]
    assert render_history.history([]) == "The journal has no runs yet."


@pytest.mark.parametrize(
    ("approval", "line", "shown"),
    [
        (PastApproval("sha256:ab", "Ada\x1b", NOW), ", approved by Ada\ufffd", " by Ada\ufffd at 2026-10-05 08:30:00Z"),
        (PastApproval("sha256:ab", "", NOW), ", approved", " at 2026-10-05 08:30:00Z"),
        (PastApproval("sha256:ab"), ", approved", " with the run itself"),
    ],
)
def test_a_run_that_used_an_approval_up_says_whose(approval: PastApproval, line: str, shown: str) -> None:
    shown_run = render_history.run(_run(approval=approval), [], plan=None, report=None, names={})
    first, second = shown_run.splitlines()
    assert first == f"2026-10-05 08:30:00Z  run_1  once      partial: 3 applied, 1 refused{line}"
    assert second == f"  approved{shown}: sha256:ab"


def test_what_a_run_sent_again_for_an_earlier_one_is_shown_too() -> None:
    """The journal keeps it with the run that began it; without it, the counts of this one would be a riddle."""
    sent = {"action": "detach", "driver": DRIVER, "fleet": FLEET, "outcome": "applied"}
    report = {"changes": [sent, {**sent, "action": "attach"}], "problems": [], "error": None}
    lines = _plain(render_history.run(_run(), [_change()], plan=None, report=report, names=NAMES)).splitlines()
    assert lines[2:] == [f"  - {EMMA}  detached from Vans {FLEET}  sent again for an earlier run"]


def test_one_run_is_shown_with_its_sources_its_changes_what_it_held_and_what_ended_it() -> None:
    held = {"action": "detach", "driver": DRIVER, "fleet": FLEET, "guard": "must_see", "message": f"{DRIVER}\x1b?"}
    refused = {"outcome": "refused", "attempts": 2, "code": "gone\x07", "message": f"404: {DRIVER}\x1b"}
    page = render_history.run(
        _run(),
        [_change(DETACH, **refused), _change(), _change(ATTACH, **refused, request_id="req_2")],
        plan={
            "sources": [{"name": "teams.yaml", "revision": "sha256:ab", "rows": 7, "proof": "none"}],
            "held": [held, {**held, "driver": "drv_2"}, {**held, "fleet": "flt_2"}],
            "shrunk": [{"message": "it\x1b lost 6"}],
            "problems": [
                {"where": "teams.yaml:7:1", "message": "twice", "note": True},
                {"where": "teams.yaml:9:1", "message": "no\x1b such fleet", "note": False},
            ],
        },
        report={
            "error": {"message": f"ended\x1b by SIGTERM, {DRIVER}"},
            "problems": [{"where": DRIVER, "message": "not as wanted", "note": False}],
        },
        names=NAMES,
    )
    assert _plain(page).splitlines() == [
        "2026-10-05 08:30:00Z  run_1  once      partial: 3 applied, 1 refused",
        "  source teams.yaml  sha256:ab  7 rows, proof none",
        f"  + {EMMA}  attached to Vans {FLEET}  applied, 1 attempt, req_1  teams\ufffd[2J.yaml:3:7",
        f"  refused: 404: Emma\ufffd Bakker ({DRIVER})\ufffd (gone\ufffd)",
        f"    Vans {FLEET}",
        f"      - {EMMA}  2 attempts, req_1",
        f"      + {EMMA}  2 attempts, req_2  teams\ufffd[2J.yaml:3:7",
        "  held: it\ufffd lost 6 (source_shrank)",
        f"  held: Emma\ufffd Bakker ({DRIVER})\ufffd? (must_see)",
        f"    Vans {FLEET}",
        f"      - {EMMA}",
        "      - drv_2",
        "    flt_2",
        f"      - {EMMA}",
        "  problem: teams.yaml:9:1: no\ufffd such fleet",
        f"  problem: Emma\ufffd Bakker ({DRIVER}): not as wanted",
        "  note: teams.yaml:7:1: twice",
        f"  error: ended\ufffd by SIGTERM, Emma\ufffd Bakker ({DRIVER})",
    ]


@pytest.mark.parametrize("report", [None, {"error": None}])
def test_a_run_without_a_plan_or_an_error_is_its_line_alone(report: dict[str, Any] | None) -> None:
    assert len(render_history.run(_run(), [], plan=None, report=report, names={}).splitlines()) == 1


def test_why_shows_when_in_which_run_and_that_an_outcome_is_not_known_yet() -> None:
    changes = [_change(DETACH), _change(outcome=None, attempts=0, request_id=None, run="run_2", trigger="apply")]
    assert _plain(render_history.why(DRIVER, changes, names=NAMES)).splitlines() == [
        EMMA,
        f"2026-10-05 08:30:00Z  - detached from Vans {FLEET}  applied, 1 attempt, req_1  run_1 (once)",
        f"2026-10-05 08:30:00Z  + attached to Vans {FLEET}  outcome not known yet, 0 attempts  "
        "teams\ufffd[2J.yaml:3:7  run_2 (apply)",
    ]


def test_why_names_a_driver_who_was_never_changed() -> None:
    """Such as one whose change is held."""
    assert _plain(render_history.why(DRIVER, [], names=NAMES)).splitlines() == [EMMA, "The journal has no such change."]


def test_a_source_that_shrank_is_explained_once_with_what_is_held_for_it() -> None:
    held = {"action": "detach", "driver": DRIVER, "fleet": FLEET, "guard": "source_shrank", "message": "it lost 6"}
    plan = {"sources": [], "held": [held], "shrunk": [{"message": "it lost 6"}], "problems": []}
    assert render_history.run(_run(), [], plan=plan, report=None, names={}).count("it lost 6") == 1


def test_the_audit_trail_says_first_when_who_and_what() -> None:
    refused = _change(DETACH, outcome="refused", code="gone\x07", request_id=None, message=f"no {DRIVER}\x1b")
    approved = _run(approval=PastApproval("sha256:ab", "Ada", NOW))
    assert _plain(render_history.audited(approved, [_change(), refused], names=NAMES)).splitlines() == [
        "2026-10-05 08:30:00Z  run_1  once      partial: 3 applied, 1 refused, approved by Ada",
        "  approved by Ada at 2026-10-05 08:30:00Z: sha256:ab",
        "  2026-10-05 08:30:00Z  + Emma\ufffd Bakker  attached to Vans  applied, 1 attempt, req_1  "
        f"teams\ufffd[2J.yaml:3:7  {DRIVER}  {FLEET}",
        "  2026-10-05 08:30:00Z  - Emma\ufffd Bakker  detached from Vans  refused, 1 attempt, gone\ufffd  "
        f"no Emma\ufffd Bakker ({DRIVER})\ufffd  {DRIVER}  {FLEET}",
    ]
    nameless = render_history.audited(_run(), [_change(DETACH)], names={})
    assert _plain(nameless).endswith(f"- {DRIVER}  detached from {FLEET}  applied, 1 attempt, req_1")


def test_nothing_that_charge_or_a_document_says_steers_the_terminal() -> None:
    """This covers request ids, names of sources, and texts from guards and plans."""
    evil = "x\x1b[2J\x07"
    page = render_history.run(
        _run(),
        [_change(request_id=evil, code=evil, message=message) for message in (None, evil)],
        plan={
            "sources": [{"name": evil, "revision": "sha256:ab", "rows": 7, "proof": "none"}],
            "held": [{"action": "detach", "driver": DRIVER, "fleet": FLEET, "guard": "must_see", "message": evil}],
        },
        report=None,
        names={DRIVER: evil, FLEET: evil},
    )
    assert "\x1b[2J" not in page and "\x07" not in page
    assert "\x1b[2J" not in render_history.why(DRIVER, [_change(request_id=evil, code=evil)], names={DRIVER: evil})
