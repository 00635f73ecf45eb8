"""Dates in the time zone of each fleet: the wiring from the reading to the plan and to the next run."""

import dataclasses
import datetime
import zoneinfo

import pytest

from tests.support import doubles, harness
from tests.support.harness import VANS, A, B
from worker.core.model.desired import SourceReading
from worker.engine import plan_builder, wiring

pytestmark = pytest.mark.anyio


class Ending(doubles.Source):
    """A source whose rows end on a date."""

    def __init__(self, day: datetime.datetime) -> None:
        super().__init__({VANS: [A, B]})
        self._day = day

    async def read(self) -> SourceReading:
        """Return the whole reading."""
        reading = await super().read()
        return dataclasses.replace(
            reading, rows=tuple(dataclasses.replace(row, ends=self._day) for row in reading.rows)
        )


async def built(account: harness.Harness, source: Ending) -> plan_builder.PlanResult:
    rules = dataclasses.replace(account.rules, find_zone=zoneinfo.ZoneInfo)
    return await wiring.new_plan_builder(account.context(), rules=rules, sources=[source]).build()


async def test_the_next_run_is_due_when_the_day_ends_where_the_fleet_is() -> None:
    """Fleets of the sandbox are in Paris."""
    account = harness.Harness(harness.state_of({VANS: [A, B]}))
    today = account.wall.now().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    tomorrow = today + datetime.timedelta(days=2)
    result = await built(account, Ending(tomorrow))
    assert result.next_boundary == tomorrow.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Paris"))
    assert result.guarded.changes == ()
    over = await built(account, Ending(today - datetime.timedelta(days=1)))
    assert len(over.guarded.changes) == 2


async def test_every_reference_is_resolved_whatever_the_dates() -> None:
    account = harness.Harness(harness.state_of({VANS: [A, B]}))
    rules = dataclasses.replace(account.rules, find_zone=zoneinfo.ZoneInfo)
    source = Ending(datetime.datetime(2999, 1, 1))  # noqa: DTZ001 - a date has no zone of its own
    builder = wiring.new_plan_builder(account.context(), rules=rules, sources=[source])
    plan, _ = await builder.plan_ignoring_start_dates()
    assert plan.problems == ()


async def test_a_zone_that_is_not_known_has_a_code_of_its_own() -> None:
    account = harness.Harness(harness.state_of({VANS: [A, B]}))
    rules = dataclasses.replace(account.rules, find_zone=lambda name: None)
    source = Ending(datetime.datetime(2999, 1, 1))  # noqa: DTZ001 - a date has no zone of its own
    plan = (await wiring.new_plan_builder(account.context(), rules=rules, sources=[source]).build()).guarded
    assert "unknown_time_zone" in [each.code for each in plan.problems]
