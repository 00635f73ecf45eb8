"""Sums up many accounts: how many are in which condition, which need attention most, and which match a search.

Invariant: the size of the result does not grow with the number of accounts beyond its limits. Neighbours: `summary`
has the condition of one account, `web` shows the overview and its metrics.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence

from worker.core.monitoring import status, summary

Condition = summary.Condition

MOST_ROWS = 200
"""Accounts that the overview lists at once."""

MOST_WORST = 20
"""Accounts that the metrics name."""

_SEVERITY = (
    Condition.BROKEN,
    Condition.ATTENTION,
    Condition.STANDING_BY,
    Condition.PAUSED,
    Condition.DRIFTING,
    Condition.STARTING,
    Condition.WORKING,
    Condition.IN_SYNC,
)
"""Conditions, the most serious first."""

_HEALTHY = frozenset({Condition.STARTING, Condition.WORKING, Condition.IN_SYNC})


@dataclasses.dataclass(frozen=True, slots=True)
class AccountStatus:
    """An account in one line: `gist` says in a sentence how it is, `last_success` when a run last succeeded.

    `broken` are the parts that do not work.
    """

    name: str
    condition: Condition
    gist: str
    last_success: datetime.datetime | None = None
    broken: frozenset[status.Part] = frozenset()


@dataclasses.dataclass(frozen=True, slots=True)
class AccountsStatus:
    """A snapshot of all accounts at `now`.

    `error` is why the folder, its defaults or the database cannot be read, if so. `workers` is the number of processes
    that share the accounts of a cluster; 0 without a cluster.
    """

    now: datetime.datetime
    started: datetime.datetime
    version: str
    accounts: tuple[AccountStatus, ...] = ()
    error: str = ""
    workers: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Overview:
    """The accounts that match a search, the worst first, of which `rows` are the first `MOST_ROWS`."""

    rows: tuple[AccountStatus, ...]
    matches: int
    total: int
    counts: Mapping[Condition, int]


def overview(accounts: Iterable[AccountStatus], *, query: str = "", condition: str = "") -> Overview:
    """Return the overview of accounts whose name contains `query`, in this condition; empty texts match all."""
    ranked = sorted(accounts, key=_rank)
    text = query.casefold()
    matches = [
        each for each in ranked if text in each.name.casefold() and (not condition or each.condition.value == condition)
    ]
    return Overview(tuple(matches[:MOST_ROWS]), len(matches), len(ranked), count(ranked))


def count(accounts: Iterable[AccountStatus]) -> Mapping[Condition, int]:
    """Return how many accounts are in each condition, the most serious first; every condition has its number."""
    counts = dict.fromkeys(_SEVERITY, 0)
    for each in accounts:
        counts[each.condition] += 1
    return counts


def worst(accounts: Iterable[AccountStatus]) -> tuple[AccountStatus, ...]:
    """Return the accounts that need attention most, at most `MOST_WORST`; healthy ones are never among them."""
    return tuple(sorted((each for each in accounts if each.condition not in _HEALTHY), key=_rank)[:MOST_WORST])


def oldest_success(accounts: Sequence[AccountStatus]) -> datetime.datetime | None:
    """Return the oldest of the times at which an account last succeeded, or None if one has never."""
    times = [each.last_success for each in accounts]
    known = [each for each in times if each is not None]
    return min(known) if known and len(known) == len(times) else None


def _rank(account: AccountStatus) -> tuple[int, float, str]:
    """Return the sort key of an account: the worst condition first, then the oldest success."""
    since = account.last_success.timestamp() if account.last_success else 0.0
    return _SEVERITY.index(account.condition), since, account.name
