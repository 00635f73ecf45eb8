"""Tests of when a worker is dead: it has shown no life for long enough, by the clock of the worker that watches it."""

from worker.dispatch import stall_watch


def _checks(watch: stall_watch.StallWatch, *beats: int, every: float = 1.0) -> list[bool]:
    """Look at one worker at intervals, and return when it was taken for dead."""
    return [
        bool(watch.dead_workers({"a": number}, asked=at * every, answered=at * every))
        for at, number in enumerate(beats)
    ]


def test_a_worker_that_shows_life_lives() -> None:
    assert not any(_checks(stall_watch.StallWatch(seconds=5), *range(20)))


def test_a_worker_without_a_heartbeat_is_dead_after_the_time_that_it_may_be_silent() -> None:
    assert _checks(stall_watch.StallWatch(seconds=5), *[7] * 8) == [False] * 5 + [True] * 3


def test_any_other_number_is_life() -> None:
    """It may have registered again."""
    assert not any(_checks(stall_watch.StallWatch(seconds=5), 7, 7, 7, 7, 0, 0, 0, 0, 0))


def test_time_without_an_answer_of_the_database_is_no_silence() -> None:
    """After an outage, whoever checks first must not take all others for dead."""
    watch = stall_watch.StallWatch(seconds=5)
    assert not watch.dead_workers({"a": 7}, asked=0, answered=0)
    assert not watch.dead_workers({"a": 7}, asked=600, answered=600)
    assert not watch.dead_workers({"a": 7}, asked=601, answered=630)
    assert not watch.dead_workers({"a": 7}, asked=631, answered=631)


def test_the_dead_are_named_with_the_heartbeats_that_they_had() -> None:
    watch = stall_watch.StallWatch(seconds=2)
    for at in range(3):
        found = watch.dead_workers({"a": 7, "b": at, "c": 9}, asked=at, answered=at)
    assert found == {"a": 7, "c": 9}


def test_a_worker_that_has_left_is_forgotten() -> None:
    watch = stall_watch.StallWatch(seconds=2)
    watch.dead_workers({"a": 7}, asked=0, answered=0)
    watch.dead_workers({}, asked=1, answered=1)
    assert not watch.dead_workers({"a": 7}, asked=2, answered=2)
