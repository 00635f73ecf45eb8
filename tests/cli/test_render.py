"""The text of plans and results: parts and edge cases. `tests/e2e/test_terminal` tests a whole page."""

import dataclasses
import datetime

import click
import pytest

from worker.cli import render
from worker.core.model.actual import Actual, Fleet
from worker.core.model.desired import Desired, Origin
from worker.core.model.errors import FleetSyncError
from worker.core.model.identifiers import Account, DriverId, FleetId
from worker.core.model.outcomes import Already, Applied, ChangeResult, Deferred, Refused, Stale, Unknown
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.model.ports import PastRefusals
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.report import Report, Traffic
from worker.core.model.source_history import ShrunkSource
from worker.core.safety import guard, refusal_backoff
from worker.engine import plan_builder

NOW = datetime.datetime(2026, 10, 5, 8, tzinfo=datetime.UTC)
DRIVER, OTHER = DriverId("drv_" + "A" * 32), DriverId("drv_" + "B" * 32)
VANS, DEPOT = FleetId("flt_" + "V" * 32), FleetId("flt_" + "W" * 32)
ATTACH = Change(Action.ATTACH, DRIVER, VANS, Origin("teams.yaml", 3, 7))
DETACH = Change(Action.DETACH, OTHER, DEPOT)

DESIRED = Desired(sources=(), fleets=(), rows=())
ACTUAL = Actual(
    fleets={VANS: Fleet(VANS, "Vans\x1b[31m"), DEPOT: Fleet(DEPOT)},
    memberships={},
)
PEOPLE = {DRIVER: Person("Al\u202eice ch_sk_live_quoted")}
FLEET_NAMES = {VANS: "Vans\x1b[31m"}


def new_plan(*changes: Change, held: tuple[HeldChange, ...] = (), **fields: object) -> GuardedPlan:
    """Return a plan with these changes after the guard."""
    known: dict[str, object] = {
        "account": Account("https://api.chargeapi.co/v1", "test"),
        "created": NOW,
        "sources": (),
        "changes": changes,
        "held": held,
        "problems": (),
        "in_sync": 1234,
        "fleets": 1,
        "drivers": 2,
        "cost": Cost(900, 301.0),
        "digest": "sha256:0",
        "people": PEOPLE,
        "fleet_names": FLEET_NAMES,
    }
    return GuardedPlan(**{**known, **fields})  # type: ignore[arg-type]


def _plan(guarded: GuardedPlan) -> str:
    return render.plan(plan_builder.PlanResult(DESIRED, ACTUAL, guarded), rate=2.5)


def _result(*results: ChangeResult, guarded: GuardedPlan | None = None, **fields: object) -> str:
    known: dict[str, object] = {"run": "run_1", "started": NOW, "finished": NOW + datetime.timedelta(seconds=90)}
    return render.result(Report(**{**known, "guarded": guarded, "results": results, **fields}))  # type: ignore[arg-type]


def test_a_plan_names_fleets_and_drivers_beside_their_ids_and_what_it_costs() -> None:
    page = _plan(new_plan(ATTACH, DETACH)).replace("\x1b[0m", "").replace("\x1b[2m", "").replace("\x1b[1m", "")
    lines = page.replace("\x1b[32m", "").replace("\x1b[31m", "").splitlines()
    assert lines == [
        f"Vans\ufffd[31m  {VANS}",
        f"  + Al\ufffdice ch_sk_…  {DRIVER}  teams.yaml:3:7",
        "",
        DEPOT,
        f"  - {' ' * 14}  {OTHER}",
        "",
        "Plan: 1 to attach, 1 to detach, 0 held; 1,234 memberships in 1 fleet already in sync.",
        "This takes about 900 requests, 5 minutes at 2.5 per second.",
    ]


def test_ids_are_in_one_column_behind_the_names_but_for_very_long_ones() -> None:
    long = "A name that is much longer than most of the others"
    page = click.unstyle(_plan(new_plan(ATTACH, DETACH, people={DRIVER: Person("山田"), OTHER: Person(long)})))
    assert f"  + 山田  {DRIVER}  teams.yaml:3:7\n" in page
    assert f"  - {long}  {OTHER}\n" in page
    page = click.unstyle(_plan(new_plan(ATTACH, DETACH, people={DRIVER: Person("山田"), OTHER: Person("Robert")})))
    assert f"  + 山田    {DRIVER}  " in page, "each of these characters takes two columns"
    assert f"  - Robert  {OTHER}\n" in page


def test_a_plan_shows_who_and_what_is_not_active() -> None:
    fleets = {VANS: Fleet(VANS, "Vans", status="archived"), DEPOT: Fleet(DEPOT)}
    actual = dataclasses.replace(ACTUAL, fleets=fleets, statuses={DRIVER: "suspended"})
    page = render.plan(plan_builder.PlanResult(DESIRED, actual, new_plan(ATTACH, DETACH)), rate=2.5)
    assert page.count("(suspended)") == page.count("(archived)") == 1
    assert "(active)" not in page


def test_what_no_approval_lifts_offers_none() -> None:
    held = (HeldChange(DETACH, guard.MUST_SEE, "must_see was not seen"),)
    assert "--approve" not in _plan(new_plan(held=held))
    mixed = (*held, HeldChange(ATTACH, guard.PER_RUN, "too many"))
    digest = new_plan(held=mixed).held_digest
    assert (
        f"If this is what you want, approve exactly this plan. In a job:\n  fleet-sync once --approve {digest}\n"
        f"With a running service:\n  fleet-sync approve {digest}\n"
    ) in _plan(new_plan(held=mixed))


@pytest.mark.parametrize(("unsettled", "said"), [(False, "In sync: "), (True, "Nothing to do: ")])
def test_nothing_to_do_is_in_sync_only_where_everything_was_seen(unsettled: bool, said: str) -> None:
    problems = (Problem("teams.yaml:1:1", "nobody"),) if unsettled else ()
    page = _plan(new_plan(unsettled=unsettled, problems=problems))
    assert said in page
    assert ("  teams.yaml:1:1: nobody" in page) is unsettled


def test_notes_follow_the_problems_and_a_new_journal_matters_only_where_something_is_to_be_done() -> None:
    new = Problem("journal", "it is new", note=True, code=ProblemCode.JOURNAL_NEW)
    problems = (Problem("teams.yaml:1:1", "nobody"), Problem("teams.yaml:2:1", "twice", note=True), new)
    page = click.unstyle(_plan(new_plan(ATTACH, problems=problems)))
    expected = "Problems\n  teams.yaml:1:1: nobody\n\nNotes\n  teams.yaml:2:1: twice\n  journal: it is new\n\nPlan: "
    assert expected in page
    assert "it is new" not in _plan(new_plan(problems=problems))


def test_every_outcome_that_is_not_done_is_reported_with_what_support_asks_for() -> None:
    lost = (
        Refused(1, "policy_blocked", "409: not\x1b allowed", "req_1"),
        Deferred(0, "stopped", "not sent"),
        Unknown(6, "timeout", "no answer", "req_2"),
        Stale("the driver no longer exists"),
    )
    done = (Applied(1, "req_3"), Already(1))
    page = _result(*(ChangeResult(ATTACH, each) for each in (*lost, *done)), guarded=new_plan(ATTACH))
    plain = page.replace("\x1b[0m", "").replace("\x1b[31m", "").replace("\x1b[32m", "").replace("\x1b[1m", "")
    plain = plain.replace("\x1b[2m", "")
    where, who = f"Vans\ufffd[31m  {VANS}: ", f"  + Al\ufffdice ch_sk_…  {DRIVER}"
    assert plain.splitlines() == [
        "Not made",
        f"{where}refused: 409: not\ufffd allowed (policy_blocked)",
        f"{who}  req_1",
        f"{where}deferred: not sent (stopped)",
        who,
        f"{where}unknown: no answer (timeout)",
        f"{who}  req_2",
        f"{where}stale: the driver no longer exists",
        who,
        "",
        "Not everything could be done: 1 applied, 1 already, 1 refused, 1 stale, 1 deferred, 1 unknown, in 90.0 s.",
        "0 reads, 0 writes; 0 retried, 0 rate limited.",
    ]


def test_what_several_changes_have_in_common_is_said_once() -> None:
    """A reason with its fleet if there is one fleet, and above the fleets if there are several."""
    more = Change(Action.DETACH, DRIVER, DEPOT)
    held = tuple(HeldChange(each, guard.PER_RUN, "5 of 9 in all") for each in (DETACH, more, ATTACH))
    alone = HeldChange(Change(Action.DETACH, OTHER, VANS), guard.EMPTYING, "the only one")
    page = click.unstyle(_plan(new_plan(held=(held[0], held[1], alone, held[2]))))
    assert page.splitlines()[:10] == [
        "Held back: 4 changes",
        "5 of 9 in all",
        f"  {DEPOT}",
        f"    - {' ' * 14}  {OTHER}",
        f"    - Al\ufffdice ch_sk_…  {DRIVER}",
        f"  Vans\ufffd[31m  {VANS}",
        f"    + Al\ufffdice ch_sk_…  {DRIVER}  teams.yaml:3:7",
        f"Vans\ufffd[31m  {VANS}: the only one",
        f"  - {' ' * 14}  {OTHER}",
        "If this is what you want, approve exactly this plan. In a job:",
    ]
    later = Deferred(0, "stopped", "the process ended")
    lost = click.unstyle(_result(*(ChangeResult(each, later) for each in (DETACH, more, ATTACH)), guarded=new_plan()))
    assert lost.count("the process ended") == 1 and lost.count("  deferred") == 0
    assert lost.count(f"  {DEPOT}\n") == 1


def test_changes_that_charge_refused_before_are_listed_with_their_next_try() -> None:
    refused = PastRefusals("", 1, NOW, "blocked", "409: no", "req_7")
    past = {(each.action, each.driver, each.fleet): refused for each in (ATTACH, DETACH)}
    waiting = refusal_backoff.postponed([ATTACH, DETACH], past, NOW)
    page = click.unstyle(_result(*(ChangeResult(*each) for each in waiting.items()), guarded=new_plan(ATTACH, DETACH)))
    assert page.splitlines()[:6] == [
        "Not made",
        "deferred: Charge refused this change with blocked (409: no); it is tried again later, or at once when its row "
        "changes (refused_before)",
        f"  Vans\ufffd[31m  {VANS}",
        f"    + Al\ufffdice ch_sk_…  {DRIVER}  tried again at 2026-10-05 08:01 UTC",
        f"  {DEPOT}",
        f"    - {' ' * 14}  {OTHER}  tried again at 2026-10-05 08:01 UTC",
    ]


def test_a_source_that_shrank_is_explained_once_with_what_is_held_for_it() -> None:
    held = (HeldChange(DETACH, guard.SOURCE_SHRANK, "source hr has 50 rows"),)
    page = _plan(new_plan(held=held, shrunk=(ShrunkSource("hr", 50, 100, "source hr has 50 rows"),)))
    assert page.count("source hr has 50 rows") == 1


def test_a_run_that_failed_before_its_plan_shows_its_traffic_only() -> None:
    traffic = Traffic(reads=1, writes=0, retries=2, rate_limited=3)
    page = _result(traffic=traffic, error=FleetSyncError("out of order"))
    assert page == "1 read, 0 writes; 2 retried, 3 rate limited."


def test_held_attaches_are_not_counted_as_detaches() -> None:
    held = (
        HeldChange(ATTACH, guard.REFERENCE_MOVED, "is this the same person?"),
        HeldChange(DETACH, guard.REFERENCE_MOVED, "is it?"),
    )
    assert "Held back: 2 changes" in _plan(new_plan(held=held))
    assert "Held back: 1 detach\x1b" in _plan(new_plan(held=held[1:]))
    done = ChangeResult(DETACH, Applied(1))
    for results in ((), (done,)):
        assert "Held: some changes wait for approval" in _result(*results, guarded=new_plan(held=held))
        assert "Held: some detaches wait for approval" in _result(*results, guarded=new_plan(held=held[1:]))


def test_a_paused_run_says_whether_it_wrote_anything() -> None:
    assert "Paused: nothing was written." in _result(guarded=new_plan(ATTACH), paused=True)
    done = ChangeResult(DETACH, Applied(1))
    assert "Done, except for paused fleets: 1 applied" in _result(done, guarded=new_plan(ATTACH, DETACH), paused=True)


def test_the_inverse_of_a_run_says_how_to_allow_what_is_held_of_it() -> None:
    held = (HeldChange(DETACH, guard.PER_RUN, "too many"),)
    page = render.inverse(plan_builder.PlanResult(DESIRED, ACTUAL, new_plan(ATTACH, held=held)), run="run_1", rate=2.5)
    digest = new_plan(ATTACH, held=held).held_digest
    assert f"  fleet-sync approve {digest}\n  fleet-sync undo run_1 --out FILE\n" in page
    assert "once --approve" not in page
    assert "Plan: 1 to attach, 0 to detach, 1 held.\n" in page
    nothing = plan_builder.PlanResult(DESIRED, ACTUAL, new_plan(problems=(Problem("drv/flt", "left as it is"),)))
    page = render.inverse(nothing, run="run_1", rate=2.5)
    assert page.endswith("  drv/flt: left as it is\n\nNothing to undo.")


def test_a_source_that_shrank_is_shown_with_its_digest_even_if_nothing_is_held() -> None:
    guarded = new_plan(shrunk=(ShrunkSource("hr", 50, 100, "source hr\x1b has 50 rows"),))
    page = _plan(guarded)
    assert "source hr\ufffd has 50 rows\n" in page
    assert f"fleet-sync approve {guarded.held_digest}" in page
    assert "Held: a source that lost rows waits for approval.\n" in _result(guarded=guarded)


@pytest.mark.parametrize("held", [False, True])
def test_an_inverse_of_changes_or_of_held_changes_alone_is_a_plan(held: bool) -> None:
    some = (HeldChange(DETACH, guard.PER_RUN, "too many"),)
    guarded = new_plan(held=some) if held else new_plan(ATTACH)
    page = render.inverse(plan_builder.PlanResult(DESIRED, ACTUAL, guarded), run="run_1", rate=2.5)
    assert f"Plan: {int(not held)} to attach, 0 to detach, {int(held)} held." in page


def test_what_is_held_of_a_saved_plan_comes_with_the_commands_that_apply_it() -> None:
    guarded = new_plan(ATTACH, held=(HeldChange(DETACH, guard.PER_RUN, "too many"),))
    plan_result = plan_builder.PlanResult(DESIRED, ACTUAL, guarded)
    assert click.unstyle(render.held_of_saved(plan_result, again=("a plan.json", "--max-age", "3d"))).splitlines() == [
        "Held back: 1 detach",
        f"{DEPOT}: too many",
        f"  - {OTHER}",
        "If this is what you want, approve exactly these changes and apply the plan again:",
        f"  fleet-sync approve {guarded.held_digest}",
        "  fleet-sync apply 'a plan.json' --max-age 3d",
    ]


def test_a_driver_without_a_name_is_not_moved_for_a_very_long_name() -> None:
    long = "A name that is much longer than most of the others"
    page = click.unstyle(_plan(new_plan(ATTACH, DETACH, people={DRIVER: Person(long)})))
    assert f"  + {long}  {DRIVER}  teams.yaml:3:7\n" in page
    assert f"  - {OTHER}\n" in page


def test_headings_stand_out() -> None:
    problems = (Problem("a.yaml:1:1", "nobody"), Problem("a.yaml:2:1", "twice", note=True))
    page = _plan(new_plan(ATTACH, held=(HeldChange(DETACH, guard.PER_RUN, "too many"),), problems=problems))
    for heading, color in (("Held back: 1 detach", "yellow"), ("Problems", "yellow"), ("Notes", None)):
        assert f"{click.style(heading, fg=color, bold=True)}\n" in page
