"""Evaluates a plan: which changes are allowed, and which are held until a person approves exactly those.

Invariants: allowed and held changes together are the plan; no sequence of allowed changes empties a protected fleet;
no sequence of runs changes more within the window than the limits allow, except by an approval. Neighbours: `planner`
makes the plan, `window` counts recent changes, `engine.plan_builder` calls `evaluate` with what the journal knows.
"""

import collections
import dataclasses
import datetime
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from worker.core.model.actual import Actual
from worker.core.model.desired import is_fleet_name
from worker.core.model.errors import ReadingError
from worker.core.model.identifiers import Account, DriverId, FleetId, Membership, Resolutions
from worker.core.model.outcomes import NOT_CONVERGING
from worker.core.model.plan import Action, Change, HeldChange, Plan
from worker.core.model.plan_digest import held_digest
from worker.core.model.source_history import ShrunkSource, SourceSize
from worker.core.safety import attach_first, flap_detection, source_rewriting, source_shrinkage, window

MUST_SEE = "must_see"
SOURCE_SHRANK = "source_shrank"
SOURCE_REWRITTEN = "source_rewritten"
REFERENCE_MOVED = "reference_moved"
FLAPPING = "flapping"
EMPTYING = "allow_emptying_fleets"
PER_FLEET = "max_detach_fraction_per_fleet"
PER_RUN = "max_detach_fraction"
ATTACHES = "max_attach_fraction_per_fleet"

FREEZING = frozenset({NOT_CONVERGING, FLAPPING})
"""Guards that hold a change because earlier ones did not last. An approval allows it once more."""

APPROVAL_LIFETIME = datetime.timedelta(hours=24)
"""How long an approval in the journal is valid."""

_FEW_ATTACHES = 20
_FEW_REFERENCES = 20
_MOST_UNCONFIRMED_WRITES = 3
_SHOWN_PROBLEMS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The operator's limits (settings section `[guard]`); fractions are from 0 to 1.

    Fractions and `always_allow` count over the last `window_length`. Without `max_attach_fraction_per_fleet` attaches
    have no limit; a fraction of 0 allows only what is never held: `always_allow`, or the first 20 attaches. A detach
    fraction of 1 is no limit. `max_shrink_fractions` are those of the sources that have one of their own, by name.
    """

    max_detach_fraction_per_fleet: float = 0.25
    max_detach_fraction: float = 0.10
    always_allow: int = 2
    allow_emptying_fleets: bool = False
    must_see: frozenset[Membership] = frozenset()
    max_unresolved_fraction: float = 0.10
    max_attach_fraction_per_fleet: float | None = None
    window_length: datetime.timedelta = window.DEFAULT_LENGTH
    max_shrink_fractions: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class GuardHistory:
    """What the journal knows of earlier runs.

    `resolutions` are the drivers and fleets that references resolved to. `unconfirmed_writes` counts, for each change,
    the writes in a row that Charge accepted and no reading showed. `writes` are our newest writes that took effect, for
    the memberships that the plan changes. `recent` are our changes within the window of the limits. `sources` is what
    each source is compared with.
    """

    resolutions: Resolutions = dataclasses.field(default_factory=dict)
    unconfirmed_writes: Mapping[tuple[Action, DriverId, FleetId], int] = dataclasses.field(default_factory=dict)
    writes: flap_detection.Writes = dataclasses.field(default_factory=dict)
    recent: window.Window = dataclasses.field(default_factory=window.Window)
    sources: Mapping[str, SourceSize] = dataclasses.field(default_factory=dict)


NO_HISTORY = GuardHistory()


@dataclasses.dataclass(frozen=True, slots=True)
class Approvals:
    """The digests of held changes that are approved for an account at this moment.

    If `of_all_fleets` is false, the run leaves fleets out and no approval accepts a source that lost rows: the detaches
    from the fleets left out would no longer be held.
    """

    account: Account
    digests: frozenset[str]
    of_all_fleets: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """The changes of a plan in two parts, both in the plan's order, and what follows for later runs.

    `resolutions_to_remember` are the resolutions that later runs may rely on. `approval` is the digest whose approval
    allowed held changes, or empty; `approved` are these. Making one of them uses the approval up. `shrunk` are sources
    that lost too many rows and that no approval accepts; `accepted` those that the approval accepts.
    """

    allowed: tuple[Change, ...]
    held: tuple[HeldChange, ...]
    resolutions_to_remember: Resolutions = dataclasses.field(default_factory=dict)
    approval: str = ""
    approved: tuple[HeldChange, ...] = ()
    shrunk: tuple[ShrunkSource, ...] = ()
    accepted: tuple[ShrunkSource, ...] = ()


def evaluate(
    plan: Plan,
    actual: Actual,
    limits: Limits,
    history: GuardHistory = NO_HISTORY,
    approvals: Approvals | None = None,
    *,
    held_before: Collection[HeldChange] = (),
    shrunk_before: tuple[ShrunkSource, ...] = (),
) -> Decision:
    """Split a plan into allowed and held changes; the first guard in `PRECEDENCE` that applies to a change holds it.

    An approval of exactly these held changes allows them, except for those of `must_see`. `held_before` are what was
    held when a saved plan was made: these changes stay held, and belong to what an approval must name even where they
    are no longer needed; so do the sources that had shrunk then. Raises errors.ReadingError if so many references do
    not resolve that the source or the account must be wrong.
    """
    _require_resolvable(plan, limits)
    shrunk = source_shrinkage.find_shrunk(plan.sources, history.sources, limits.max_shrink_fractions) or shrunk_before
    holds = _holds(_Case(plan, actual, limits, history, shrunk), held_before)
    approval = _approval(holds, shrunk, approvals)
    before = tuple(holds[change] for change in plan.changes if change in holds)
    held = tuple(hold for hold in before if not approval or hold.guard == MUST_SEE)
    approved = tuple(hold for hold in before if hold not in held)
    freed = {hold.change for hold in approved}
    return Decision(
        allowed=tuple(change for change in plan.changes if change not in holds or change in freed),
        held=held,
        resolutions_to_remember=_resolutions_to_remember(plan, held, approved, history),
        approval=approval,
        approved=approved,
        shrunk=() if approval else shrunk,
        accepted=shrunk if approval else (),
    )


def _holds(case: "_Case", held_before: Collection[HeldChange]) -> dict[Change, HeldChange]:
    """Return why each change is held that is: by the first guard in `PRECEDENCE`, now or before."""
    holds: dict[Change, HeldChange] = {}
    for code, guard in PRECEDENCE:
        for change, reason in guard(case).items():
            holds.setdefault(change, HeldChange(change, code, reason))
        for hold in held_before:
            if hold.guard == code:
                holds.setdefault(hold.change, hold)
    return {**{hold.change: hold for hold in held_before}, **holds}


def _approval(held: Collection[Change], shrunk: tuple[ShrunkSource, ...], approvals: Approvals | None) -> str:
    """Return the digest of what waits for an approval if there is anything and it is approved, else an empty text."""
    if approvals is None or not (held or shrunk) or (shrunk and not approvals.of_all_fleets):
        return ""
    digest = held_digest(approvals.account, held, shrunk)
    return digest if digest in approvals.digests else ""


def _resolutions_to_remember(
    plan: Plan, held: tuple[HeldChange, ...], approved: tuple[HeldChange, ...], history: GuardHistory
) -> Resolutions:
    """Return the resolutions that are new, and those that moved without any change held or delayed because of that.

    A moved reference is not remembered while any guard holds a change of either driver or fleet, or a grace period
    delays one: remembering it would lift `reference_moved`, and the change would pass as soon as the other guard no
    longer applies. Nor is it while a row waits for its beginning, a setting keeps a change out of the plan, or a plan
    may lack changes, unless the move itself was approved; of a fleet's name, not even then if the plan may lack them.
    """
    waiting = {*_concerned(held), *(each for membership in plan.later for each in membership)}
    accepted = _concerned(hold for hold in approved if hold.guard == REFERENCE_MOVED)
    suppressed = {each for membership in plan.suppressed for each in membership}
    remember = {}
    for reference, now in plan.resolutions.items():
        before = history.resolutions.get(reference)
        is_whole = not plan.unsettled and reference not in plan.awaited and not {before, now} & suppressed
        is_accepted = bool({before, now} & accepted) and not (plan.unsettled and is_fleet_name(reference))
        if before is None or (before != now and not {before, now} & waiting and (is_whole or is_accepted)):
            remember[reference] = now
    return remember


def _concerned(held: Iterable[HeldChange]) -> set[DriverId | FleetId]:
    return {each for hold in held for each in (hold.change.driver, hold.change.fleet)}


def _require_resolvable(plan: Plan, limits: Limits) -> None:
    if plan.references < _FEW_REFERENCES or plan.unresolved / plan.references <= limits.max_unresolved_fraction:
        return
    problems = [problem for problem in plan.problems if not problem.note]
    shown = "\n".join(f"  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    raise ReadingError(
        f"{plan.unresolved} of {plan.references} references cannot be resolved, more than "
        f"max_unresolved_fraction = {limits.max_unresolved_fraction:g} allows; nothing was changed\n{shown}",
        code="too_many_unresolved",
        remedy="Check that the source is correct and that the key belongs to this account; "
        "`fleet-sync check --online` lists every problem.",
    )


# --- The guards -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Case:
    """Everything that a guard evaluates."""

    plan: Plan
    actual: Actual
    limits: Limits
    history: GuardHistory
    shrunk: tuple[ShrunkSource, ...]

    @property
    def detaches(self) -> list[Change]:
        return [change for change in self.plan.changes if change.action is Action.DETACH]

    def of_drivers(self, reasons: Mapping[DriverId, str]) -> dict[Change, str]:
        """Return all changes of these drivers, attaches too.

        A driver whose attach is held must not lose a fleet meanwhile.
        """
        return {change: reasons[change.driver] for change in self.plan.changes if change.driver in reasons}

    def without_stranded(self, held: Mapping[Change, str]) -> dict[Change, str]:
        """Return the held changes without the attaches of drivers in no fleet: those must never be frozen."""
        return {
            change: reason
            for change, reason in held.items()
            if change.action is Action.DETACH or self.actual.memberships.get(change.driver) != frozenset()
        }


def unseen(actual: Actual, limits: Limits) -> frozenset[Membership]:
    """Return the memberships of `must_see` that a reading does not show."""
    return frozenset(pair for pair in limits.must_see if pair[1] not in actual.memberships.get(pair[0], ()))


def _must_see(case: _Case) -> Mapping[Change, str]:
    """Hold every detach if a membership of `must_see` is missing in Charge, or would be detached now or later."""
    leaving = {*case.plan.later, *((change.driver, change.fleet) for change in case.detaches)}
    missing = unseen(case.actual, case.limits)
    for driver, fleet in sorted(case.limits.must_see):
        what = ""
        if (driver, fleet) in missing:
            what = "was not seen in Charge: the reading is wrong"
        elif (driver, fleet) in leaving:
            what = f"would be detached: the sources are wrong, or {MUST_SEE} is"
        if what:
            return dict.fromkeys(
                case.detaches, f"{driver}/{fleet} is listed in {MUST_SEE} and {what}; this cannot be approved"
            )
    return {}


def _source_shrank(case: _Case) -> Mapping[Change, str]:
    """Hold every detach from the fleets of a source that lost too many rows: perhaps its end is missing."""
    reasons = {fleet: each.message for each in reversed(case.shrunk) for fleet in each.fleets}
    return {change: reasons[change.fleet] for change in case.detaches if change.fleet in reasons}


def _source_rewritten(case: _Case) -> Mapping[Change, str]:
    """Hold every change in the fleets of a source whose history was rewritten: perhaps by a mistake, or an intruder.

    Detaches of drivers whose attach to such a fleet is held are held too, so that they stay in a fleet.
    """
    reasons = source_rewriting.rewritten_fleets(case.plan.sources, case.history.sources)
    held = {change: reasons[change.fleet] for change in case.plan.changes if change.fleet in reasons}
    return _with_dependents(case, held, SOURCE_REWRITTEN)


def _reference_moved(case: _Case) -> Mapping[Change, str]:
    """Hold every change of both drivers, or of both fleets, if a reference resolves to another one than before.

    Detaches of drivers whose attach to such a fleet is held are held too, so that they stay in a fleet.
    """
    reasons: dict[DriverId | FleetId, str] = {}
    for reference, now in sorted(case.plan.resolutions.items()):
        before = case.history.resolutions.get(reference, now)
        if before != now:
            same = "fleet" if is_fleet_name(reference) else "person"
            reason = f"{reference} resolved to {before} before and resolves to {now} now: check whether it is the same"
            reasons |= {before: f"{reason} {same}", now: f"{reason} {same}"}
    by_fleet = {change: reasons[change.fleet] for change in case.plan.changes if change.fleet in reasons}
    by_driver = {change: reasons[change.driver] for change in case.plan.changes if change.driver in reasons}
    return {**_with_dependents(case, by_fleet, REFERENCE_MOVED), **by_driver}


def _not_converging(case: _Case) -> Mapping[Change, str]:
    """Hold every change of a driver if one of them was accepted several times and never seen."""
    reasons = {}
    for change in case.plan.changes:
        count = case.history.unconfirmed_writes.get((change.action, change.driver, change.fleet), 0)
        if count >= _MOST_UNCONFIRMED_WRITES:
            reasons[change.driver] = (
                f"Charge accepted this {change.action} {count} times, but no reading showed it; it is not repeated"
            )
    return case.without_stranded(case.of_drivers(reasons))


def _flapping(case: _Case) -> Mapping[Change, str]:
    """Hold changes that another client keeps reverting."""
    return case.without_stranded(flap_detection.find_frozen(case.plan.changes, case.history.writes))


def _emptying(case: _Case) -> Mapping[Change, str]:
    """Hold every detach of a fleet if no present member would remain, now or after the last grace period.

    Attaches do not count, because each of them may be refused.
    """
    if case.limits.allow_emptying_fleets:
        return {}
    later = collections.Counter(fleet for _, fleet in case.plan.later)
    due = collections.Counter(change.fleet for change in case.detaches)
    held = {}
    for change in case.detaches:
        members, delayed = case.plan.members[change.fleet], later[change.fleet]
        if due[change.fleet] + delayed >= members:
            rest = f", {delayed} of them after their grace period" if delayed else ""
            those = f"all {members} members" if members > 1 else "the only member"
            held[change] = f"{those} of this fleet would be detached{rest}"
    return held


def _per_fleet(case: _Case) -> Mapping[Change, str]:
    """Hold every detach of a fleet that would lose too large a fraction of its members within the window."""
    limit = window.Limit(PER_FLEET, Action.DETACH, case.limits.max_detach_fraction_per_fleet, case.limits.always_allow)
    return _over_in_fleets(case, limit, case.detaches) if limit.fraction < 1 else {}


def _per_run(case: _Case) -> Mapping[Change, str]:
    """Hold every detach if too large a fraction of all memberships would be detached within the window."""
    limit = window.Limit(PER_RUN, Action.DETACH, case.limits.max_detach_fraction, case.limits.always_allow)
    recent, members = case.history.recent.of(case.plan.members), sum(case.plan.members.values())
    if limit.fraction >= 1 or not limit.is_exceeded(recent, members=members, due=len(case.detaches)):
        return {}
    reason = limit.reason(recent, members=members, due=len(case.detaches), where="in all managed fleets")
    return dict.fromkeys(case.detaches, reason)


def _attaches(case: _Case) -> Mapping[Change, str]:
    """Hold every attach to a fleet that would grow by too large a fraction within the window.

    Holds the detaches of these drivers too, so that they stay in a fleet.
    """
    if case.limits.max_attach_fraction_per_fleet is None:
        return {}
    limit = window.Limit(ATTACHES, Action.ATTACH, case.limits.max_attach_fraction_per_fleet, _FEW_ATTACHES)
    attaches = [change for change in case.plan.changes if change.action is Action.ATTACH]
    return _with_dependents(case, _over_in_fleets(case, limit, attaches), ATTACHES)


def _with_dependents(case: _Case, held: dict[Change, str], code: str) -> dict[Change, str]:
    """Return held changes, and the detaches of drivers that have an attach among them."""
    dependent = attach_first.dependent_detaches(case.plan.changes, held)
    return {
        change: f"the attach of this driver to {fleet} is held ({code}), and no driver may end up without a fleet"
        for change, fleet in dependent.items()
    } | held


def _over_in_fleets(case: _Case, limit: window.Limit, changes: Sequence[Change]) -> dict[Change, str]:
    """Return these changes of every fleet in which they exceed a limit, with the reason."""
    reasons = {}
    for fleet, due in collections.Counter(change.fleet for change in changes).items():
        recent, members = case.history.recent.of({fleet}), case.plan.members[fleet]
        if limit.is_exceeded(recent, members=members, due=due):
            reasons[fleet] = limit.reason(recent, members=members, due=due, where="of this fleet")
    return {change: reasons[change.fleet] for change in changes if change.fleet in reasons}


PRECEDENCE: tuple[tuple[str, Callable[[_Case], Mapping[Change, str]]], ...] = (
    (MUST_SEE, _must_see),  # the reading or the sources are wrong; the only guard that an approval does not lift
    (SOURCE_SHRANK, _source_shrank),  # the source is probably not whole
    (SOURCE_REWRITTEN, _source_rewritten),  # the source is perhaps not what it was meant to be
    (REFERENCE_MOVED, _reference_moved),  # the change may concern another person
    (NOT_CONVERGING, _not_converging),
    (FLAPPING, _flapping),
    (EMPTYING, _emptying),  # the limits, from the smallest scope to the largest
    (PER_FLEET, _per_fleet),
    (PER_RUN, _per_run),
    (ATTACHES, _attaches),
)
"""The guards by code, the most serious first. Each returns the changes that it holds, with the reason."""
