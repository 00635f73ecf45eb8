"""Groups changes that have the same reason, so that people read the reason once, with the drivers concerned below it.

Invariant: every item is in one group, and groups, fleets and items keep the order in which they were given. Neighbours:
`alerts` and `open_changes` are lists of changes with reasons; commands and pages show the groups.
"""

import collections
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from worker.core.model.identifiers import FleetId

Item = TypeVar("Item")
Reason = TypeVar("Reason", bound=Hashable)


@dataclasses.dataclass(frozen=True, slots=True)
class Group(Generic[Reason, Item]):
    """The items of one reason, by fleet."""

    reason: Reason
    fleets: Mapping[FleetId, tuple[Item, ...]]

    @property
    def fleet(self) -> FleetId | None:
        """Return the fleet if there is only one."""
        return next(iter(self.fleets)) if len(self.fleets) == 1 else None

    @property
    def size(self) -> int:
        """Return the number of items."""
        return sum(map(len, self.fleets.values()))


def group(
    items: Iterable[Item], *, reason: Callable[[Item], Reason], fleet: Callable[[Item], FleetId]
) -> tuple[Group[Reason, Item], ...]:
    """Return the groups of these items."""
    found: dict[Reason, dict[FleetId, list[Item]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for item in items:
        found[reason(item)][fleet(item)].append(item)
    return tuple(
        Group(each, {where: tuple(listed) for where, listed in fleets.items()}) for each, fleets in found.items()
    )
