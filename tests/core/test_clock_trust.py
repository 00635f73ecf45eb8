"""Whether this machine's clock is trusted, and what is left of a plan if it is not."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import laws
from worker.core.model.actual import StatedTime
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.plan import Action, Change, Plan
from worker.core.safety import clock_trust

NOON = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
SECOND, MINUTE = datetime.timedelta(seconds=1), datetime.timedelta(minutes=1)
HOUR, DAY = datetime.timedelta(hours=1), datetime.timedelta(days=1)
ANN, VANS = DriverId("drv_A"), FleetId("flt_V")


def reading(ahead: datetime.timedelta = datetime.timedelta(), *, later: float = 0.0) -> clock_trust.ClockReading:
    """Return what the clocks show so many seconds after noon, if the one that can be set is `ahead`."""
    return clock_trust.ClockReading(NOON + ahead + later * SECOND, 1000.0 + later)


def assess(
    present: clock_trust.ClockReading,
    *stated: StatedTime,
    newest_entry: datetime.datetime | None = None,
    began: clock_trust.ClockReading | None = None,
) -> clock_trust.Assessment:
    return clock_trust.assess(present, began=began or present, stated=stated, newest_entry=newest_entry)


def said(wrong_by: datetime.timedelta = datetime.timedelta(), *, later: float = 0.0) -> StatedTime:
    """Return the time that a reply stated so many seconds after noon."""
    return StatedTime(NOON + wrong_by + later * SECOND, 1000.0 + later)


ERRORS = st.timedeltas(min_value=-3650 * DAY, max_value=3650 * DAY)
WRONG = ERRORS.filter(lambda error: abs(error) > clock_trust.TOLERANCE)


SLIGHT = st.timedeltas(min_value=-10 * MINUTE, max_value=10 * MINUTE)


@laws.examples(200)
@given(error=ERRORS | SLIGHT, waited=st.floats(0, 1e6))
def test_a_clock_is_trusted_if_it_is_within_five_minutes_of_what_charge_states(
    error: datetime.timedelta, waited: float
) -> None:
    """However long ago that was: the uptime says how long."""
    clock = assess(reading(error, later=waited), said(), newest_entry=NOON + 9999 * DAY)
    off = abs(reading(error, later=waited).now - NOON - waited * SECOND)
    assert clock.trusted is (off <= clock_trust.TOLERANCE)


@laws.examples(200)
@given(
    error=WRONG,
    right=st.integers(1, 8),
    lies=st.lists(ERRORS, max_size=7),
    chance=st.randoms(),
)
def test_a_minority_of_wrong_times_neither_excuses_a_clock_nor_accuses_it(
    error: datetime.timedelta, right: int, lies: list[datetime.timedelta], chance: object
) -> None:
    stated = [said()] * right + [said(lie) for lie in lies[: right - 1]]
    chance.shuffle(stated)  # type: ignore[attr-defined]
    assert assess(reading(), *stated).trusted
    assert not assess(reading(error), *stated).trusted


@given(age=st.timedeltas(min_value=SECOND, max_value=365 * DAY))
def test_of_two_times_the_later_counts_because_a_cache_makes_them_older(age: datetime.timedelta) -> None:
    assert assess(reading(), said(-age), said()).trusted
    assert assess(reading(), said(), said(-age)).trusted


@pytest.mark.parametrize(
    ("ahead", "shown"),
    [
        (6 * MINUTE, "6 minutes ahead of Charge's"),
        (-119 * MINUTE, "119 minutes behind Charge's"),
        (2 * HOUR, "2 hours ahead of Charge's"),
        (47 * HOUR, "47 hours ahead of Charge's"),
        (-DAY * 3650, "3650 days behind Charge's"),
    ],
)
def test_the_reason_says_by_how_much_and_stays_the_same_while_time_passes(
    ahead: datetime.timedelta, shown: str
) -> None:
    clock = assess(reading(ahead), said())
    assert clock.reason == f"this machine's clock is {shown}"
    later = assess(reading(ahead, later=40.0), said(later=40.0))
    assert (later.reason, later.problem) == (clock.reason, clock.problem)


def test_the_problem_has_a_code_and_says_what_to_do() -> None:
    problem = assess(reading(2 * DAY), said()).problem
    assert (problem.where, problem.code, problem.note) == ("clock", "clock_not_trusted", False)
    assert "no driver is detached" in problem.message
    assert str(problem).endswith("Set this machine's clock, and keep it right with NTP.")


# --- Without a stated time --------------------------------------------------------------------------------


@given(error=ERRORS)
def test_without_a_stated_time_a_clock_more_than_five_minutes_behind_the_journal_is_not_trusted(
    error: datetime.timedelta,
) -> None:
    clock = assess(reading(), newest_entry=NOON + error)
    assert clock.trusted is (error <= clock_trust.TOLERANCE)
    assert clock.trusted or "the newest entry of the journal" in clock.reason


@given(jump=WRONG, passed=st.floats(0, 1e5))
def test_without_a_stated_time_a_clock_that_is_set_during_the_run_is_not_trusted(
    jump: datetime.timedelta, passed: float
) -> None:
    assert assess(reading(later=passed), began=reading()).trusted
    clock = assess(reading(jump, later=passed), began=reading())
    assert "at the start of the run" in clock.reason


def test_without_a_stated_time_and_with_an_empty_journal_the_clock_is_trusted() -> None:
    assert assess(reading(3650 * DAY)).trusted


@given(error=ERRORS)
def test_the_earliest_moment_that_it_may_be_is_that_of_the_clock_or_of_charge(error: datetime.timedelta) -> None:
    clock = assess(reading(error), said())
    assert (clock.now, clock.trusted or clock.earliest <= NOON) == (NOON + error, True)
    assert clock.earliest <= clock.now


# --- What is left of a plan -------------------------------------------------------------------------------

ATTACH, DETACH = Change(Action.ATTACH, ANN, VANS), Change(Action.DETACH, ANN, FleetId("flt_W"))


def _plan() -> Plan:
    return Plan((ATTACH, DETACH), (), {VANS: 1}, in_sync=0, drivers=1)


def test_a_plan_keeps_its_attaches_and_its_detaches_count_as_delayed() -> None:
    clock = assess(reading(DAY), said())
    plan = clock_trust.restrict(_plan(), clock)
    assert (plan.changes, plan.later) == ((ATTACH,), frozenset({(ANN, "flt_W")}))
    assert plan.problems == (clock.problem,)


def test_by_a_clock_that_is_trusted_a_plan_stays_as_it_is() -> None:
    plan, clock = _plan(), assess(reading(), said())
    assert clock_trust.restrict(plan, clock) is plan
