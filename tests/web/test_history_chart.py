"""The chart of changes per day."""

import datetime
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web import conftest, doubles
from worker.core.model.outcomes import OUTCOME_NAMES, Applied, ChangeResult
from worker.web import fragments, history_chart

pytestmark = pytest.mark.anyio

TODAY = doubles.NOW.date()


def _days(**by_back: Mapping[str, int]) -> dict[datetime.date, Mapping[str, int]]:
    """Return counts by day: `d3` is three days ago."""
    return {TODAY - datetime.timedelta(days=int(back[1:])): counts for back, counts in by_back.items()}


def test_the_chart_has_a_bar_for_each_day_with_a_part_for_each_kind_of_outcome() -> None:
    days = _days(
        d0={"applied": 30, "already": 4, "refused": 2, "unknown": 1, "stale": 3},
        d13={"applied": 7},
        d14={"applied": 999},
    )
    drawn = history_chart.history_chart(days, today=TODAY)
    assert len(drawn.bars) == history_chart.DAYS
    assert [part.kind for part in drawn.bars[-1].parts] == ["done", "refused", "waiting"]
    assert drawn.bars[-1].description == f"{TODAY:%Y-%m-%d}: 34 done, 2 refused, 4 not made yet"
    assert drawn.bars[5].description.endswith(": no changes")
    assert (
        drawn.summary
        == "Changes per day in the last 14 days: 41 done, 2 refused, 4 not made yet, and at most 40 a day."
    )


@pytest.mark.parametrize(
    ("largest", "top"), [(1, 1), (2, 2), (3, 5), (11, 20), (40, 50), (51, 100), (201_000, 500_000)]
)
def test_the_scale_of_the_chart_ends_at_a_round_number(largest: int, top: int) -> None:
    drawn = history_chart.history_chart(_days(d2={"applied": largest}), today=TODAY)
    assert drawn.grid[0].label == f"{top:,}"
    assert drawn.grid[-1].label == "0"
    assert drawn.grid[-1].y == drawn.base


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(OUTCOME_NAMES, st.integers(0, 2000))), min_size=14, max_size=14))
def test_no_bar_leaves_the_chart_and_no_outcome_disappears(counts: list[dict[str, int]]) -> None:
    days = {TODAY - datetime.timedelta(days=back): counted for back, counted in enumerate(counts)}
    drawn = history_chart.history_chart(days, today=TODAY)
    for bar, counted in zip(drawn.bars, reversed(counts), strict=bool(drawn.bars)):
        assert bool(bar.parts) is any(counted.values())
        assert all(part.height >= 2 and 0 <= part.y < drawn.base for part in bar.parts)
        assert drawn.bar / 2 <= bar.x <= drawn.width - drawn.bar / 2
    assert bool(drawn.bars) is any(any(counted.values()) for counted in counts)


async def test_the_overview_says_so_where_nothing_was_changed() -> None:
    service = doubles.Service()
    await doubles.remember(service, doubles.run())
    assert "No changes in the last 14 days." in conftest.plain(await conftest.read(service))


async def test_changes_are_counted_once_a_run_however_often_the_page_is_drawn() -> None:
    service = doubles.Service()
    await doubles.past(service, 12)
    overview = fragments.Fragments(service, approvable=True)
    before = (await overview.at(1)).fragments["history"]
    assert 'class="done"' in before
    made = [doubles.change("attach", n, 0) for n in range(900)]
    results = [ChangeResult(change, Applied(1)) for change in made]
    last = doubles.run(77, plan=doubles.guarded(changes=made), results=results)
    await doubles.remember(service, last)
    assert "at most 1,000" not in before
    assert _summary_of((await overview.at(2)).fragments["history"]) == _summary_of(before)
    service.present = doubles.calm(last=last)
    assert _summary_of((await overview.at(3)).fragments["history"]) != _summary_of(before)


def _summary_of(history: str) -> str:
    return history[history.index("Changes per day in") :].partition('"')[0]


def test_every_fourth_day_is_named_below_its_bar_and_today_is_called_so() -> None:
    today = datetime.date(2026, 3, 9)
    drawn = history_chart.history_chart({today: {"applied": 1}}, today=today)
    labels = [bar.label for bar in drawn.bars]
    assert labels == ["", "25 Feb", "", "", "", "1 Mar", "", "", "", "5 Mar", "", "", "", "today"]


@pytest.mark.parametrize(("largest", "labels"), [(10, ["10", "5", "0"]), (4, ["5", "0"]), (1, ["1", "0"])])
def test_the_grid_has_a_line_in_the_middle_where_that_is_a_whole_number(largest: int, labels: list[str]) -> None:
    drawn = history_chart.history_chart(_days(d2={"applied": largest}), today=TODAY)
    assert [line.label for line in drawn.grid] == labels
