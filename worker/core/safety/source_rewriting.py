"""Finds sources whose history was rewritten: what an earlier run read is no ancestor of what is read now.

Invariant: the version that later runs compare with moves on only once no change that follows from the rewriting is
waiting. Neighbours: `guard` holds the changes in the fleets of these sources, `source_shrinkage` compares their sizes,
`core.model.source_history` has the values.
"""

from collections.abc import Collection, Mapping

from worker.core.model.identifiers import FleetId
from worker.core.model.plan import HeldChange, Plan
from worker.core.model.source_history import SourceRecord, SourceSize

_SHOWN = 12


def rewritten_fleets(sizes: Mapping[str, SourceSize], before: Mapping[str, SourceSize]) -> dict[FleetId, str]:
    """Return the fleets of sources whose history was rewritten, with the reason; also those that they named before."""
    reasons = dict[FleetId, str]()
    for name, size in sorted(sizes.items(), reverse=True):
        if size.rewritten:
            reason = (
                f"the history of source {name} was rewritten: {size.version[:_SHOWN]} does not descend from "
                f"{size.rewritten[:_SHOWN]}, which an earlier run read"
            )
            reasons |= dict.fromkeys(size.fleets | before.get(name, size).fleets, reason)
    return reasons


def unsettled(plan: Plan, held: Collection[HeldChange], records: Mapping[str, SourceRecord]) -> frozenset[str]:
    """Return the sources whose rewriting still has changes that are held or delayed, or may have more.

    Remembering their new version would let these changes pass later without anybody's approval.
    """
    waiting = {each.change.fleet for each in held} | {fleet for _, fleet in plan.later}
    partial = bool(plan.unresolved or plan.incomplete)
    return frozenset(
        name
        for name, size in plan.sources.items()
        if size.rewritten and (partial or waiting & (size.fleets | records[name].fleets))
    )
