"""How the memberships of a fleet are counted after a run."""

from collections.abc import Sequence

from tests.core import worlds
from tests.core.worlds import NORTH, VANS
from worker.core.model.outcomes import (
    NOT_CONVERGING,
    Already,
    Applied,
    ChangeResult,
    Deferred,
    Outcome,
    Refused,
    Unknown,
)
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.monitoring import fleet_counts, status
from worker.core.safety import guard


def guarded(changes: Sequence[Change] = (), *, held: Sequence[HeldChange] = ()) -> GuardedPlan:
    return GuardedPlan(
        account=worlds.ACCOUNT,
        created=worlds.NOW,
        sources=(),
        changes=tuple(changes),
        held=tuple(held),
        problems=(),
        in_sync=7,
        fleets=2,
        drivers=7,
        cost=Cost(0, 0.0),
        digest="sha256:1",
    )


def _held(change: Change, by: str = guard.PER_FLEET) -> HeldChange:
    return HeldChange(change, by, "too many")


def test_every_membership_of_a_fleet_is_counted() -> None:
    def attach(letter: str) -> Change:
        return Change(Action.ATTACH, worlds.driver_id(letter), VANS)

    def detach(letter: str) -> Change:
        return Change(Action.DETACH, worlds.driver_id(letter), VANS)

    came: dict[Change, Outcome | None] = {
        attach("A"): Applied(1),
        attach("B"): Already(1),
        attach("C"): Refused(1, "c", "no"),
        attach("D"): Deferred(0, "refused_before", "not tried"),
        attach("E"): Deferred(0, "rate_limit_exceeded", "not sent"),
        attach("F"): None,
        detach("G"): Applied(1),
        detach("H"): Unknown(1, "u", "reset"),
    }
    kept = [
        _held(detach("I")),
        _held(detach("J")),
        _held(attach("K"), "flapping"),
        _held(detach("L"), NOT_CONVERGING),
    ]
    results = [ChangeResult(change, outcome) for change, outcome in came.items() if outcome]
    vans, north = fleet_counts.count_fleets(
        names={VANS: "Paris vans"},
        members={NORTH: 4, VANS: 20},
        guarded=guarded(list(came), held=kept),
        results=results,
        incomplete={NORTH: "the listing contradicted itself"},
    )[::-1]
    # 20 members before the run, of which G, H, I, J and L should leave; and A and B, which were attached.
    assert vans == status.Fleet(VANS, "Paris vans", in_sync=17, drifted=3, held=2, frozen=2, refused=2)
    assert north == status.Fleet(NORTH, "", in_sync=4, incomplete="the listing contradicted itself")


def test_without_changes_all_members_are_in_sync() -> None:
    assert fleet_counts.count_fleets(names={}, members={VANS: 3}, guarded=guarded(), results=()) == (
        status.Fleet(VANS, "", in_sync=3),
    )


def test_what_a_run_leaves_out_is_not_in_sync() -> None:
    leaver = Change(Action.DETACH, worlds.A, NORTH)
    [north] = fleet_counts.count_fleets(names={}, members={NORTH: 5}, guarded=guarded(), results=(), left_out=[leaver])
    assert (north.in_sync, north.drifted) == (4, 1)
