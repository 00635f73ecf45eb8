"""A short form of the account that moves: several processes have it in turn, and Charge sees one client."""

import pathlib

from tests.storm import moved

FORM = moved.Form(drivers=90, rate=25.0, burst=20, stay=1.0, moves=2, kill_every=0, patience=120.0)


def test_a_moving_account_keeps_its_limit_and_every_write_is_in_time(
    tmp_path: pathlib.Path, postgres_host: str
) -> None:
    verdict = moved.Moved(FORM, tmp_path, postgres_host).play()
    assert verdict.excess <= 0
    assert verdict.writes.stale == ()
    assert verdict.writes.unknown == ()
    assert verdict.wrong == {}
    assert verdict.epochs > FORM.moves
    assert set(verdict.codes) == {143}
