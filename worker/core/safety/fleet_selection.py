"""Leaves the changes of other fleets out of a plan: `--fleet`.

Invariants: everything is read and evaluated before, so that no limit is evaded by taking one fleet after the other; a
driver whose attach is left out keeps their fleets. Neighbours: `guard` made the plan, `attach_first` defers detaches.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from worker.core.model.actual import Fleet
from worker.core.model.desired import FleetById, FleetRef
from worker.core.model.errors import UnknownFleet
from worker.core.model.identifiers import FleetId
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.plan_digest import held_digest, plan_digest
from worker.core.model.problem import Problem, ProblemCode
from worker.core.safety import attach_first, guard

WHERE = "--fleet"
"""The place of the note that says how many changes are left out."""


Suggest = Callable[[str, Sequence[str]], str]


def resolve(
    references: Iterable[FleetRef], managed: Collection[FleetId], known: Mapping[FleetId, Fleet], *, suggest: Suggest
) -> frozenset[FleetId]:
    """Return the managed fleets with these ids or exact names. Raises errors.UnknownFleet.

    `suggest` returns a question that names those that a text may misspell.
    """
    return frozenset(_resolve(reference, managed, known, suggest) for reference in references)


def _resolve(
    reference: FleetRef, managed: Collection[FleetId], known: Mapping[FleetId, Fleet], suggest: Suggest
) -> FleetId:
    if isinstance(reference, FleetById):
        found = [reference.id] if reference.id in managed else []
    else:
        found = [fleet for fleet in managed if fleet in known and known[fleet].name == reference.name]
    if len(found) == 1:
        return found[0]
    names = [known[fleet].name for fleet in managed if fleet in known]
    suggestion = "" if found else suggest(str(reference).strip('"'), names)
    what = "several fleets in the sources have this name" if found else "no source lists this fleet"
    raise UnknownFleet(f"--fleet {reference}: {what}{suggestion}")


def narrow(
    guarded: GuardedPlan, fleets: frozenset[FleetId], *, approvals: frozenset[str]
) -> tuple[GuardedPlan, frozenset[Change]]:
    """Return the plan without the changes and held changes of other fleets, and these.

    `approvals` are the digests that are approved now: one may name exactly the held changes that are left.
    """
    held = tuple(hold for hold in guarded.held if hold.change.fleet in fleets)
    changes = [change for change in guarded.changes if change.fleet in fleets]
    approved = tuple(hold for hold in guarded.approved if hold.change.fleet in fleets)
    approval = guarded.approval
    digest = held_digest(guarded.account, (hold.change for hold in held))
    if held and not guarded.shrunk and digest in approvals:
        freed = tuple(hold for hold in held if hold.guard != guard.MUST_SEE)
        held = tuple(hold for hold in held if hold.guard == guard.MUST_SEE)
        changes = sorted([*changes, *(hold.change for hold in freed)], key=lambda change: change.order)
        approved, approval = (*approved, *freed), digest
    every = {*guarded.changes, *(hold.change for hold in guarded.held)}
    left_out = frozenset(change for change in every if change.fleet not in fleets)
    return dataclasses.replace(
        guarded,
        changes=tuple(changes),
        held=held,
        approved=approved,
        approval=approval,
        digest=plan_digest(guarded.account, changes, (hold.change for hold in held)),
        problems=tuple(sorted({*guarded.problems, *_notes(left_out, changes)})),
    ), left_out


def _notes(left_out: Collection[Change], changes: Iterable[Change]) -> Iterator[Problem]:
    """Yield how many changes are left out, and how many detaches of the plan wait for one of them."""
    count, waiting = len(left_out), len(attach_first.dependent_detaches(changes, left_out))
    if count:
        what = "1 change of another fleet is" if count == 1 else f"{count} changes of other fleets are"
        yield Problem(WHERE, f"{what} left out", note=True, code=ProblemCode.FLEETS_LEFT_OUT)
    if waiting:
        what = "1 detach is" if waiting == 1 else f"{waiting} detaches are"
        message = f"{what} deferred, because an attach of the same driver is left out (attach_first)"
        yield Problem(WHERE, message, note=True, code=ProblemCode.FLEETS_LEFT_OUT)


def missing_attaches(guarded: GuardedPlan) -> frozenset[Change]:
    """Return the attaches that a plan wants and does not contain, because they were left out of it."""
    contained = {*guarded.changes, *(hold.change for hold in guarded.held)}
    wanted = (
        Change(Action.ATTACH, driver, fleet)
        for driver, concerned in guarded.concerned.items()
        for fleet in concerned.wanted - concerned.seen
    )
    return frozenset(change for change in wanted if change not in contained)
