"""A source whose history is rewritten, over several runs, with the journal in between."""

import dataclasses
from collections.abc import Iterable, Mapping

import pytest

from tests.support import doubles, harness
from tests.support.harness import DEPOT, VANS
from worker.core.model.desired import SourceReading
from worker.core.model.identifiers import DriverId
from worker.core.model.report import Report
from worker.core.safety import guard

pytestmark = pytest.mark.anyio

DRIVERS = [DriverId(f"drv_{number:032d}") for number in range(20)]
EVERYONE: Mapping[str, Iterable[str]] = {VANS: DRIVERS}
WITHOUT_ONE: Mapping[str, Iterable[str]] = {VANS: DRIVERS[1:]}


class Branch(doubles.Source):
    """Implements source_history.Versioned: a branch at a commit, which descends from `ancestors`."""

    def __init__(self, wanted: Mapping[str, Iterable[str]], commit: str, *ancestors: str) -> None:
        super().__init__(wanted)
        self._commit = commit
        self._ancestors = ancestors

    async def read(self) -> SourceReading:
        """Return the whole reading, with its version."""
        reading = await super().read()
        source = dataclasses.replace(reading.source, name="teams", rows=len(reading.rows), version=self._commit)
        return dataclasses.replace(reading, source=source)

    async def descends(self, version: str, *, before: str) -> bool:
        """Return whether `before` is one of the ancestors."""
        assert version == self._commit
        return before in self._ancestors


class Account:
    """An account whose only fleet has 20 members."""

    def __init__(self) -> None:
        self.harness = harness.Harness(harness.state_of({VANS: DRIVERS, DEPOT: []}))

    async def run(self, source: doubles.Source, approved: str | None = None) -> Report:
        return await self.harness.new_reconciler(source).reconcile(trigger="once", approved=approved)

    @property
    def members(self) -> int:
        return len(self.harness.state.members(VANS))


async def test_a_rewritten_history_is_held_until_it_is_approved() -> None:
    account = Account()
    assert (await account.run(Branch(EVERYONE, "one"))).result == "in_sync"
    for _ in range(2):
        held = await account.run(Branch(WITHOUT_ONE, "other"))
        assert (held.result, held.exit_code, account.members) == ("held", 3, 20)
        assert held.guarded is not None
        assert {each.guard for each in held.guarded.held} == {guard.SOURCE_REWRITTEN}
    approved = await account.run(Branch(WITHOUT_ONE, "other"), approved=held.held_digest)
    assert (approved.result, account.members) == ("converged", 19)
    assert (await account.run(Branch({VANS: DRIVERS[2:]}, "next", "other"))).result == "converged"


async def test_a_branch_that_is_restored_goes_on() -> None:
    account = Account()
    await account.run(Branch(EVERYONE, "one"))
    await account.run(Branch(WITHOUT_ONE, "other"))
    assert (await account.run(Branch(EVERYONE, "one"))).result == "in_sync"
    assert (await account.run(Branch(WITHOUT_ONE, "two", "one"))).result == "converged"


async def test_a_rewriting_that_changes_nothing_needs_no_approval() -> None:
    account = Account()
    await account.run(Branch(EVERYONE, "one"))
    assert (await account.run(Branch(EVERYONE, "other"))).result == "in_sync"
    assert (await account.run(Branch(WITHOUT_ONE, "two", "other"))).result == "converged"


async def test_a_source_that_has_no_history_any_more_is_not_compared() -> None:
    account = Account()
    await account.run(Branch(EVERYONE, "one"))
    assert (await account.run(Branch(WITHOUT_ONE, ""))).result == "converged"
    assert (await account.run(Branch({VANS: DRIVERS[2:]}, "other"))).result == "converged"
