"""A short storm: one worker is stopped for longer than its permit lasts, another one is killed."""

import pathlib

from tests.storm import nemesis, scenario

FORM = scenario.Form(
    accounts=16,
    interval=3.0,
    drivers=12,
    latency=0.2,
    moves=6,
    changes=0.7,
    storm=nemesis.Storm(seconds=18, workers=2, stops=1, kills=1, shortest_stop=11, longest_stop=12, pause=1.0),
    seed=7,
    patience=120.0,
)


def test_no_write_is_stale_and_no_membership_wrong(tmp_path: pathlib.Path, postgres_host: str) -> None:
    verdict = scenario.Scenario(FORM, tmp_path, postgres_host).play()
    assert verdict.writes.stale == ()
    assert verdict.writes.unknown == ()
    assert verdict.wrong == {}
    assert verdict.arrivals > FORM.accounts
    assert all(count == 143 for count in verdict.codes)
