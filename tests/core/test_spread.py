"""What many accounts do at once is spread, but no account waits longer than it may."""

from hypothesis import given
from hypothesis import strategies as st

from worker.core.pacing import spread

CHANCES = st.floats(0, 1)


@given(CHANCES, st.integers(1, 20_000), st.floats(0, 600))
def test_no_account_waits_longer_than_it_may(chance: float, accounts: int, longest: float) -> None:
    assert 0 <= spread.delay(chance, accounts=accounts, longest=longest) <= longest


@given(CHANCES)
def test_a_single_account_begins_at_once(chance: float) -> None:
    assert spread.delay(chance, accounts=1, longest=300) == 0


@given(st.integers(2, 20_000), st.floats(1, 600))
def test_the_last_of_many_begins_as_late_as_it_may(accounts: int, longest: float) -> None:
    most = spread.delay(1, accounts=accounts, longest=longest)
    assert most == min(longest, (accounts - 1) * spread.SECONDS_PER_ACCOUNT)


@given(st.floats(0, 600), CHANCES, CHANCES)
def test_a_pause_is_shortened_by_no_more_than_its_fraction(seconds: float, chance: float, fraction: float) -> None:
    assert seconds * (1 - fraction) <= spread.shortened(seconds, chance, fraction=fraction) <= seconds


def test_without_a_fraction_a_pause_stays_as_it_is() -> None:
    assert spread.shortened(20, 1, fraction=0) == 20
