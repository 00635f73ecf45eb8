"""Counts the memberships of each fleet by their state after a run.

Invariant: every membership in a plan counts in exactly one state. Neighbours: `status.Fleet` holds the counts,
`summary` puts them into words, `service.state` calls this when a run has ended.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from worker.core.model.identifiers import FleetId
from worker.core.model.outcomes import ChangeResult, is_refusal
from worker.core.model.plan import Action, Change, GuardedPlan, HeldChange
from worker.core.monitoring import status
from worker.core.safety import guard


def count_fleets(
    *,
    names: Mapping[FleetId, str],
    members: Mapping[FleetId, int],
    guarded: GuardedPlan,
    results: Iterable[ChangeResult],
    incomplete: Mapping[FleetId, str] | None = None,
    left_out: Iterable[Change] = (),
) -> tuple[status.Fleet, ...]:
    """Return the counts of each managed fleet after a run; `members` is `Plan.members`, from before the run.

    `left_out` are changes of fleets that the run did not select.
    """
    result_of = {result.change: result for result in results}
    allowed: dict[FleetId, list[Change]] = collections.defaultdict(list)
    for change in (*guarded.changes, *left_out):
        allowed[change.fleet].append(change)
    held: dict[FleetId, list[HeldChange]] = collections.defaultdict(list)
    for each in guarded.held:
        held[each.change.fleet].append(each)
    return tuple(
        _fleet(
            status.Fleet(
                fleet, names.get(fleet, ""), in_sync=members[fleet], incomplete=(incomplete or {}).get(fleet, "")
            ),
            allowed=allowed[fleet],
            held=held[fleet],
            result_of=result_of,
        )
        for fleet in sorted(members)
    )


def _fleet(
    before: status.Fleet,
    *,
    allowed: Sequence[Change],
    held: Sequence[HeldChange],
    result_of: Mapping[Change, ChangeResult],
) -> status.Fleet:
    results = [result_of[change] for change in allowed if change in result_of]
    refused = sum(is_refusal(result.outcome) for result in results)
    done = [result.change for result in results if result.done]
    attached = sum(change.action is Action.ATTACH for change in done)
    frozen = sum(each.guard in guard.FREEZING for each in held)
    detaches = sum(change.action is Action.DETACH for change in [*allowed, *(each.change for each in held)])
    return dataclasses.replace(
        before,
        in_sync=before.in_sync - detaches + attached,
        drifted=len(allowed) - len(done) - refused,
        held=len(held) - frozen,
        frozen=frozen,
        refused=refused,
    )
