"""Judges a plan: what may be done, and what only after somebody has looked.

Invariants: allowed and held together are the plan; limits hold detaches only; no sequence of allowed changes empties a
protected fleet. Neighbours: `planner` makes the plan, `digest` names it, `engine.cycle` carries out what is allowed.
"""

import collections
import dataclasses
import datetime
from collections.abc import Collection, Iterable, Mapping

from worker.core.model.actual import Actual
from worker.core.model.errors import ReadingError
from worker.core.model.identifiers import DriverId, FleetId, Membership
from worker.core.model.outcomes import NOT_CONVERGING
from worker.core.model.plan import Action, Change, HeldChange, Plan
from worker.core.safety import flap_detection

MUST_SEE = "must_see"
EMPTYING = "allow_emptying_fleets"
PER_FLEET = "max_detach_fraction_per_fleet"
PER_RUN = "max_detach_fraction"

REFERENCE_MOVED = "reference_moved"
FLAPPING = "flapping"
FREEZING = frozenset({NOT_CONVERGING, FLAPPING})
"""They hold what did not stay as it was made; an approval makes it once more, and no more than once."""

APPROVAL_LIFETIME = datetime.timedelta(hours=24)
"""How long an approval lasts that is kept in the journal."""

_FEW_REFERENCES = 20
_MOST_FRUITLESS = 3
_SHOWN_PROBLEMS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The operator's limits, as `[guard]` documents them; fractions lie in 0 to 1."""

    max_detach_fraction_per_fleet: float = 0.25
    max_detach_fraction: float = 0.10
    always_allow: int = 2
    allow_emptying_fleets: bool = False
    must_see: frozenset[tuple[DriverId, FleetId]] = frozenset()
    max_unresolved_fraction: float = 0.10


@dataclasses.dataclass(frozen=True, slots=True)
class GuardHistory:
    """What earlier runs left behind: whom references led to, how often in a row a write did not show, what was made.

    `writes` are our newest writes that took effect, for the memberships that the plan changes.
    """

    resolutions: Mapping[str, DriverId] = dataclasses.field(default_factory=dict)
    unconfirmed_writes: Mapping[tuple[Action, DriverId, FleetId], int] = dataclasses.field(default_factory=dict)
    writes: flap_detection.Writes = dataclasses.field(default_factory=dict)


_NOTHING = GuardHistory()


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """The plan's changes in two parts; both keep the plan's order."""

    allowed: tuple[Change, ...]
    held: tuple[HeldChange, ...]


def require_resolvable(plan: Plan, limits: Limits) -> None:
    """Raise errors.ReadingError where so many references lead nowhere that the source or the account must be wrong."""
    if plan.references < _FEW_REFERENCES or plan.unresolved / plan.references <= limits.max_unresolved_fraction:
        return
    problems = [problem for problem in plan.problems if not problem.note]
    shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    raise ReadingError(
        f"{plan.unresolved} of {plan.references} references cannot be resolved, more than "
        f"max_unresolved_fraction = {limits.max_unresolved_fraction:g} allows; nothing was changed\n{shown}",
        code="too_many_unresolved",
        remedy="See that the source is right and the key is this account's; `fleet-sync check --online` lists all.",
    )


def evaluate(plan: Plan, actual: Actual, limits: Limits, memory: GuardHistory = _NOTHING) -> Decision:
    """Part the plan's changes into those that may be made and those that are held, with the reason.

    Limits hold detaches only; what the memory speaks against holds every change of the drivers concerned, as a driver
    whose attach is held must not lose a fleet meanwhile. What flaps is held by itself, and an attach with the detaches
    of its driver.
    """
    detaches = [change for change in plan.changes if change.action is Action.DETACH]
    sentinel = _sentinel(actual, {*plan.later, *((change.driver, change.fleet) for change in detaches)}, limits)
    held_fleets = _held_fleets(plan, detaches, limits)
    whole_run = _held_run(plan, detaches, limits)
    suspects = _suspects(plan, memory)
    frozen = flap_detection.find_frozen(plan.changes, memory.writes)
    held = {change: HeldChange(change, FLAPPING, reason) for change, reason in frozen.items()}
    held |= {
        change: HeldChange(change, *suspects[change.driver]) for change in plan.changes if change.driver in suspects
    }
    for change in detaches:
        if sentinel:
            held[change] = HeldChange(change, MUST_SEE, sentinel)
        elif change not in held and (reason := held_fleets.get(change.fleet) or whole_run):
            held[change] = HeldChange(change, *reason)
    return Decision(
        allowed=tuple(change for change in plan.changes if change not in held),
        held=tuple(held[change] for change in plan.changes if change in held),
    )


def resolutions_to_remember(plan: Plan, judgement: Decision, memory: GuardHistory) -> dict[str, DriverId]:
    """Give the references that are new, or whose move nothing is held for any more: from now on they lead there.

    Whichever guard holds it: a move that counted as seen meanwhile would pass as soon as that guard lets go, or as the
    grace of a detach ends that it asks for.
    """
    held = {*(held.change.driver for held in judgement.held), *(driver for driver, _ in plan.later)}
    fresh = {}
    for reference, driver in plan.resolutions.items():
        before = memory.resolutions.get(reference)
        if before is None or (before != driver and not {before, driver} & held):
            fresh[reference] = driver
    return fresh


def _suspects(plan: Plan, memory: GuardHistory) -> dict[DriverId, tuple[str, str]]:
    """Give every driver whom the memory speaks against the guard's name and its message."""
    suspects: dict[DriverId, tuple[str, str]] = {}
    for change in plan.changes:
        count = memory.unconfirmed_writes.get((change.action, change.driver, change.fleet), 0)
        if count >= _MOST_FRUITLESS:
            message = f"this {change.action} was answered as done {count} times, and yet never seen: it is not repeated"
            suspects[change.driver] = (NOT_CONVERGING, message)
    for reference, driver in sorted(plan.resolutions.items()):
        before = memory.resolutions.get(reference, driver)
        if before != driver:
            reason = (
                REFERENCE_MOVED,
                f"{reference} led to {before} before, and leads to {driver} now: is this the same person?",
            )
            suspects |= {before: reason, driver: reason}
    return suspects


def approve(judgement: Decision) -> Decision:
    """Allow what is held. A `must_see` hold stays: there the reading is wrong, and no approval makes it right."""
    stay = tuple(held for held in judgement.held if held.guard == MUST_SEE)
    freed = (held.change for held in judgement.held if held.guard != MUST_SEE)
    return Decision(tuple(sorted((*judgement.allowed, *freed), key=lambda change: change.order)), stay)


def unfrozen_by_approval(before: Decision, after: Decision) -> frozenset[Change]:
    """Give the changes that were frozen, and are allowed by an approval."""
    return frozenset(held.change for held in before.held if held.guard in FREEZING) & frozenset(after.allowed)


def _held_fleets(plan: Plan, detaches: Iterable[Change], limits: Limits) -> Mapping[FleetId, tuple[str, str]]:
    """Give every fleet that would lose too many the guard's name and its message."""
    held = {}
    later = collections.Counter(fleet for _, fleet in plan.later)
    for fleet, due in sorted(collections.Counter(change.fleet for change in detaches).items()):
        members, count = plan.members[fleet], due + later[fleet]
        if count >= members and not limits.allow_emptying_fleets:
            # Attaches do not count here: each of them may yet be refused.
            rest = f", {later[fleet]} of them when their grace ends" if later[fleet] else ""
            held[fleet] = (EMPTYING, f"all {members} who are in this fleet now would be detached{rest}")
        elif due > limits.always_allow and due / members > limits.max_detach_fraction_per_fleet:
            share = f"{due} of {members} memberships of this fleet ({due / members:.1%})"
            limit = f"{PER_FLEET} = {limits.max_detach_fraction_per_fleet:g}"
            held[fleet] = (PER_FLEET, f"{share} would be detached, more than {limit}")
    return held


def _held_run(plan: Plan, detaches: list[Change], limits: Limits) -> tuple[str, str] | None:
    """Give the guard's name and its message where the run as a whole would detach too many."""
    count, members = len(detaches), sum(plan.members.values())
    if count <= limits.always_allow or count / members <= limits.max_detach_fraction:
        return None
    share = f"{count} of all {members} memberships in managed fleets ({count / members:.1%})"
    return PER_RUN, f"{share} would be detached, more than {PER_RUN} = {limits.max_detach_fraction:g}"


def _sentinel(actual: Actual, leaving: Collection[Membership], limits: Limits) -> str | None:
    """Give the reason why `must_see` forbids every detach: one of its memberships is not there, or is to go."""
    for driver, fleet in sorted(limits.must_see):
        if fleet not in actual.memberships.get(driver, frozenset()):
            return (
                f"{MUST_SEE} was not seen in Charge: {driver}/{fleet}; the reading is wrong, and no approval lifts this"
            )
        if (driver, fleet) in leaving:
            return f"{MUST_SEE} names {driver}/{fleet}, which would be detached: the sources are wrong, or must_see is"
    return None
