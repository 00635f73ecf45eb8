"""The rate limit that a run found is where the next process starts."""

import dataclasses
import datetime

import pytest

from tests.engine import accounts
from tests.support import doubles, harness
from tests.support.harness import BASE, VANS
from worker.core.model.identifiers import Account, RunId
from worker.core.model.report import Report
from worker.sandbox import quirks

pytestmark = pytest.mark.anyio

OURS, ELSEWHERE = Account(BASE, "test"), Account("https://elsewhere.test", "test")
LEARNED = 137.0


def _next_process(earlier: harness.Harness) -> harness.Harness:
    return harness.Harness(earlier.state, journal=earlier.memory, requests_per_second=2000.0, adaptive=True)


async def _with_learned(rate: float, *, hours: float, account: Account = OURS) -> harness.Harness:
    """Return an account whose journal holds a rate that was learned so many hours ago."""
    earlier = harness.Harness(accounts.account())
    await earlier.memory.claim(account, fleets={}, managed=())
    plan = (await harness.Harness(accounts.account()).new_plan_builder(doubles.Source(accounts.WANTED)).build()).guarded
    then = earlier.wall.now() - datetime.timedelta(hours=hours)
    await earlier.memory.finish(Report(RunId("run_0"), then, then, plan, learned_rate=rate), trigger="test")
    return _next_process(earlier)


@pytest.mark.parametrize(("hours", "expected"), [(0.0, LEARNED), (23.9, LEARNED), (24.0, None), (-1.0, None)], ids=str)
async def test_a_process_starts_at_the_rate_that_was_learned_within_a_day(hours: float, expected: float | None) -> None:
    later = await _with_learned(LEARNED, hours=hours)
    await later.new_plan_builder(doubles.Source(accounts.WANTED)).build()
    assert later.limiter.learned == expected


async def test_a_learned_rate_never_exceeds_the_ceiling() -> None:
    later = await _with_learned(5000.0, hours=1)
    await later.new_plan_builder(doubles.Source(accounts.WANTED)).build()
    assert later.limiter.rate() == 2000.0


async def test_the_rate_of_another_account_is_not_taken_over() -> None:
    later = await _with_learned(LEARNED, hours=1, account=ELSEWHERE)
    later.adopt_journal = True
    assert (await later.reconcile(accounts.WANTED)).exit_code == 0
    assert later.limiter.learned is None
    assert (await later.memory.owner()).learned is None


@pytest.mark.parametrize("limit", [50.0, None])
async def test_the_limit_that_a_run_finds_is_in_the_journal(limit: float | None) -> None:
    held = harness.state_of({VANS: []}, others=[f"drv_{number:032}" for number in range(300)])
    rules = dataclasses.replace(quirks.PLAUSIBLE, rate=limit, burst=5)
    limited = harness.Harness(held, quirks=rules, requests_per_second=2000.0, adaptive=True)
    assert (await limited.reconcile({VANS: sorted(held.drivers)})).exit_code == 0
    learned = (await limited.memory.owner()).learned
    assert (learned is None) == (limit is None)
    assert learned is None or 0.7 * 50 <= learned.requests_per_second <= 1.1 * 50


async def test_a_process_that_has_replies_already_keeps_its_own_rate() -> None:
    later = await _with_learned(LEARNED, hours=1)
    later.limiter.accepted(later.wall.seconds())
    before = later.limiter.rate()
    later.limiter.start_at(LEARNED)
    assert later.limiter.rate() == before


async def test_a_fixed_rate_learns_nothing() -> None:
    fixed = harness.Harness(accounts.account())
    fixed.limiter.start_at(LEARNED)
    assert fixed.limiter.learned is None
    assert fixed.limiter.rate() == 1000.0
