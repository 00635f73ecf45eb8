"""The judge and the nemesis of the storm: a verdict that could never be "guilty" would prove nothing."""

import math

import hypothesis
import pytest
from hypothesis import strategies

from tests.storm import judge, nemesis

Owner = judge.Owner


def arrive(*writes: tuple[str, str, float]) -> list[judge.Arrival]:
    return [judge.Arrival(account, key, at) for account, key, at in writes]


def origins(**epochs: int) -> dict[tuple[str, str], judge.Origin]:
    return {("acme", key): judge.Origin(epoch, resent=False) for key, epoch in epochs.items()}


def test_a_write_of_an_earlier_epoch_after_one_of_a_later_epoch_is_stale() -> None:
    found = judge.writes(arrive(("acme", "a", 1.0), ("acme", "b", 2.0), ("acme", "c", 3.0)), origins(a=1, b=2, c=1))
    assert [(each.arrival.key, each.epoch, each.seen) for each in found.stale] == [("c", 1, 2)]


def test_writes_count_in_the_order_in_which_they_arrived() -> None:
    assert judge.writes(arrive(("acme", "b", 2.0), ("acme", "a", 1.0)), origins(a=1, b=2)).stale == ()


def test_epochs_of_other_accounts_say_nothing() -> None:
    known = {("acme", "a"): judge.Origin(1, resent=False), ("bolt", "b"): judge.Origin(5, resent=False)}
    assert judge.writes(arrive(("bolt", "b", 1.0), ("acme", "a", 2.0)), known) == judge.Writes((), (), 0)


def test_a_write_that_the_journal_does_not_know_is_reported() -> None:
    assert [each.key for each in judge.writes(arrive(("acme", "x", 1.0)), {}).unknown] == ["x"]


def test_the_epoch_of_a_write_that_was_sent_again_is_not_sure() -> None:
    known = {("acme", "a"): judge.Origin(1, resent=True), ("acme", "b"): judge.Origin(2, resent=False)}
    found = judge.writes(arrive(("acme", "b", 1.0), ("acme", "a", 2.0)), known)
    assert (found.stale, found.unsure) == ((), 1)


@pytest.mark.parametrize(
    ("starts", "longest"), [((), 10.0), ((4.0,), 6.0), ((7.0, 3.0), 4.0), ((-5.0, 5.0, 15.0), 5.0)]
)
def test_the_longest_time_without_a_run(starts: tuple[float, ...], longest: float) -> None:
    assert judge.longest_gap(starts, begin=0.0, end=10.0) == longest


def test_an_account_is_taken_over_when_it_has_a_new_epoch() -> None:
    looks = [
        (0.0, {"acme": Owner(3, "w1"), "bolt": Owner(1, "w2")}),
        (4.0, {"acme": Owner(3, "w1"), "bolt": Owner(2, "w3")}),
        (9.0, {"acme": Owner(4, "w2"), "bolt": Owner(2, "w3")}),
    ]
    assert judge.take_overs([(1.0, 20.0, "w1")], looks, least=5.0) == [8.0]
    assert judge.take_overs([(1.0, 5.0, "w1")], looks, least=5.0) == []


def test_an_account_that_was_released_just_before_was_not_taken_over() -> None:
    looks = [(0.0, {"acme": Owner(3, "w1")}), (2.0, {"acme": Owner(3, "")}), (9.0, {"acme": Owner(4, "w2")})]
    assert judge.take_overs([(1.0, 20.0, "w1")], looks, least=5.0) == []


def test_an_account_that_nobody_took_over_took_for_ever() -> None:
    looks = [(0.0, {"acme": Owner(3, "w1")}), (30.0, {"acme": Owner(3, "w1")})]
    assert judge.take_overs([(1.0, math.inf, "w1")], looks, least=5.0) == [math.inf]


def test_the_lag_of_a_run_is_from_when_it_was_due_until_it_began() -> None:
    assert judge.lags([{"acme": 10.0}, {"acme": 10.0}, {"acme": 70.0}], {"acme": [5.0, 12.5]}) == [2.5]


def test_a_worker_is_found_by_the_process_in_its_name() -> None:
    assert judge.is_process("fleet-sync 4711@host-9", 4711)
    assert not judge.is_process("fleet-sync 14711@host-9", 4711)


@pytest.mark.parametrize(("fraction", "number"), [(0.0, 1.0), (0.5, 2.0), (0.95, 4.0), (1.0, 4.0)])
def test_quantiles(fraction: float, number: float) -> None:
    assert judge.quantile([4.0, 1.0, 3.0, 2.0], fraction) == number
    assert judge.quantile([], fraction) == 0.0


@hypothesis.given(strategies.integers(0, 10**6))
def test_a_storm_is_planned_as_it_was_ordered(seed: int) -> None:
    storm = nemesis.Storm(seconds=600, workers=4, stops=30, kills=15)
    events = nemesis.plan(storm, seed=seed)
    assert events == nemesis.plan(storm, seed=seed)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert sum(event.blow is nemesis.Blow.STOP for event in events) == 30
    assert sum(event.blow is nemesis.Blow.KILL for event in events) == 15
    for event in events:
        assert event.at >= 0 and event.end <= 600
        assert event.blow is nemesis.Blow.KILL or 1 <= event.seconds <= 14
        beside = [other for other in events if other is not event and other.at < event.end and event.at < other.end]
        assert all(other.worker != event.worker for other in beside)
        at_once = [other for other in events if other.at <= event.at < other.end]
        assert len(at_once) <= 2
    assert nemesis.plan(storm, seed=seed + 1) != events


def test_more_than_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        nemesis.plan(nemesis.Storm(seconds=20, workers=2, stops=30, kills=15), seed=1)


@pytest.mark.parametrize(
    ("moments", "excess"),
    [
        ([0.0, 0.0, 0.0], 0.0),
        ([0.0, 0.0, 0.0, 0.0], 1.0),
        ([0.0, 0.5, 1.0, 1.5, 2.0, 2.5], -2.0),
        ([0.0, 10.0, 10.0, 10.0, 10.0, 10.0, 20.0], 2.0),
        ([3.0, 1.0, 1.0, 1.0, 1.0], 1.0),
        ([], -math.inf),
    ],
)
def test_requests_above_a_limit_are_found_in_any_window(moments: list[float], excess: float) -> None:
    assert judge.excess(moments, rate=2.0, burst=3) == excess


@hypothesis.given(strategies.lists(strategies.integers(0, 40).map(lambda number: number / 4), min_size=1))
def test_the_worst_window_is_the_worst_of_all(moments: list[float]) -> None:
    windows = [(first, last) for first in moments for last in moments if first <= last]
    above = [sum(first <= at <= last for at in moments) - 2 * (last - first) - 3 for first, last in windows]
    assert judge.excess(moments, rate=2.0, burst=3) == max(above)


@pytest.mark.parametrize(("seconds", "most"), [(0.5, 2), (1.0, 3), (5.0, 4)])
def test_the_busiest_second_is_found(seconds: float, most: int) -> None:
    assert judge.most_within([2.0, 0.0, 0.5, 0.5], seconds) == most
    assert judge.most_within([], seconds) == 0
