"""A short outage of Charge: every account is run again once it is over, and none above its limit."""

import pathlib

from tests.storm import outage

FORM = outage.Form(accounts=4, interval=2.0, outage=3.0, patience=120.0)


def test_after_an_outage_every_account_is_run_and_none_above_its_limit(
    tmp_path: pathlib.Path, postgres_host: str
) -> None:
    verdict = outage.Outage(FORM, tmp_path, postgres_host).play()
    assert max(verdict.caught_up.values()) < FORM.patience
    assert verdict.excess <= 0
    assert verdict.during > 0
    assert verdict.wrong == {}
