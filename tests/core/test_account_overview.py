"""Many accounts in few lines: the worst first, all counted, and bounded."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from worker.core.monitoring import account_overview
from worker.core.monitoring.account_overview import AccountStatus, Condition

NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
TIMES = st.none() | st.integers(0, 1000).map(lambda minutes: NOON + datetime.timedelta(minutes=minutes))
ACCOUNTS = st.lists(
    st.builds(AccountStatus, st.text("aBc", max_size=3), st.sampled_from(Condition), st.just("gist"), TIMES),
    max_size=30,
)


@given(ACCOUNTS, st.text("AbC", max_size=2), st.sampled_from(["", *Condition]))
def test_every_account_that_matches_is_counted(accounts: list[AccountStatus], query: str, condition: str) -> None:
    shown = account_overview.overview(accounts, query=query, condition=condition)
    matching = [each for each in accounts if query.lower() in each.name.lower() and condition in ("", each.condition)]
    assert (shown.matches, shown.total) == (len(matching), len(accounts))
    assert sorted(shown.rows, key=repr) == sorted(matching, key=repr)
    assert sum(shown.counts.values()) == len(accounts)
    assert set(shown.counts) == set(Condition)


@given(ACCOUNTS)
def test_the_order_does_not_depend_on_the_order_of_the_accounts(accounts: list[AccountStatus]) -> None:
    assert account_overview.overview(accounts) == account_overview.overview(accounts[::-1])


def test_the_worst_are_first_and_of_these_those_that_never_succeeded() -> None:
    accounts = [
        AccountStatus("fine", Condition.IN_SYNC, "", NOON),
        AccountStatus("held", Condition.ATTENTION, "", NOON),
        AccountStatus("late", Condition.BROKEN, "", NOON),
        AccountStatus("never", Condition.BROKEN, ""),
        AccountStatus("earlier", Condition.BROKEN, "", NOON - datetime.timedelta(hours=1)),
    ]
    ranked = [each.name for each in account_overview.overview(accounts).rows]
    assert ranked == ["never", "earlier", "late", "held", "fine"]
    assert [each.name for each in account_overview.worst(accounts)] == ranked[:-1]


@given(st.sampled_from([Condition.IN_SYNC, Condition.WORKING, Condition.STARTING]))
def test_an_account_that_is_well_is_never_among_the_worst(condition: Condition) -> None:
    assert account_overview.worst([AccountStatus("fine", condition, "")]) == ()


def test_the_lists_are_bounded() -> None:
    accounts = [AccountStatus(f"a{number:04}", Condition.BROKEN, "") for number in range(1000)]
    shown = account_overview.overview(accounts)
    assert (len(shown.rows), shown.matches) == (account_overview.MOST_ROWS, 1000)
    assert len(account_overview.worst(accounts)) == account_overview.MOST_WORST


@given(ACCOUNTS)
def test_the_oldest_success_is_that_of_the_account_that_waits_longest(accounts: list[AccountStatus]) -> None:
    oldest = account_overview.oldest_success(accounts)
    times = [each.last_success for each in accounts]
    assert oldest is None if None in times or not times else oldest in times
    assert all(oldest is None or (time is not None and oldest <= time) for time in times)
