"""Checks that the journal belongs to the account that a run is about to read and write.

A journal knows what earlier runs did; used for another account, its absences, approvals and counts would speak about
the wrong drivers. Invariant: nothing is recorded in a journal of another account unless the operator adopts it.
Neighbours: `plan_builder` asks this around each reading, `reconciler` records the owner, `ports.Journal` remembers it.
"""

import datetime
import types
from collections.abc import Collection, Iterable, Mapping

from worker.core.model.actual import Actual
from worker.core.model.errors import ForeignJournal
from worker.core.model.identifiers import Account, FleetId
from worker.core.model.people import clean
from worker.core.model.ports import Journal
from worker.core.model.problem import Problem, ProblemCode
from worker.engine import reader

_NEW_JOURNAL = Problem(
    "journal",
    "it is new, so the limits of the guard count from now on",
    note=True,
    code=ProblemCode.JOURNAL_NEW,
)


class Ownership:
    """Whose the journal is, and whether this run may use it."""

    def __init__(
        self, account: Account, journal: Journal, account_reader: reader.Reader, *, adopt: bool = False
    ) -> None:
        """Take the account of this run, and whether the operator wants it to take the journal over."""
        self._account = account
        self._journal = journal
        self._reader = account_reader
        self._adopt = adopt
        self._is_new = False

    async def check_account(self, *, now: datetime.datetime) -> float | None:
        """Return the requests a second that this account's runs have learned, if they did so within a day.

        Raises errors.ForeignJournal if base URL or mode are not those of the journal's account.
        """
        known = await self._journal.owner()
        owner = known.account
        self._is_new = owner is None
        if owner is not None and owner != self._account and not self._adopt:
            raise ForeignJournal(
                f"the journal belongs to the account at {owner.base_url} ({owner.mode}), and this run is for"
                f" {self._account.base_url} ({self._account.mode})"
            )
        if known.learned is None or owner != self._account:
            return None
        return known.learned.requests_per_second if known.learned.is_fresh(now) else None

    def with_notes(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Return the problems of a plan, sorted, and last a note if no run had used the journal by `check_account`."""
        others = sorted(each for each in problems if each.code is not ProblemCode.JOURNAL_NEW)
        return (*others, _NEW_JOURNAL) if self._is_new else tuple(others)

    async def check_fleets(self, actual: Actual) -> None:
        """Raise errors.ForeignJournal if the journal knows fleets, and none of them exists for this key.

        Retrieves fleets only if the reading shows none that the journal knows.
        """
        known = (await self._journal.owner()).fleets
        if self._adopt or not known or known.keys() & actual.fleets.keys():
            return
        shown = any(known.keys() & fleets for fleets in actual.memberships.values())
        if not shown and not await self._reader.has_any_fleet(known):
            raise ForeignJournal(f"none of the {len(known)} fleets that the journal knows exists for this key")

    async def claim(
        self,
        actual: Actual,
        *,
        managed: Collection[FleetId],
        saved_names: Mapping[FleetId, str] = types.MappingProxyType({}),
    ) -> None:
        """Record that the journal belongs to this account, and the fleets that the reading shows.

        `managed` are the fleets that later runs must find in the sources; `saved_names` are those that a saved plan has
        for its fleets.
        """
        fleets = {fleet.id: clean(fleet.name) for fleet in actual.fleets.values()}
        if not fleets:  # a saved plan reads no fleets
            known = (await self._journal.owner()).fleets
            shown = frozenset[FleetId]().union(*actual.memberships.values())
            fleets = {fleet: known.get(fleet) or saved_names.get(fleet, "") for fleet in shown}
        await self._journal.claim(self._account, fleets=fleets, managed=managed)
