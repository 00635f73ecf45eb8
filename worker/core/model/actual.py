"""What Charge holds, as far as one reading saw it.

Invariant: present, absent and unknown are three different things. Neighbours: `planning.inventory` collects this from
pages, `desired` is what the sources want.
"""

import dataclasses
from collections.abc import Mapping

from worker.core.model.identifiers import DriverId, FleetId


@dataclasses.dataclass(frozen=True, slots=True)
class Driver:
    """A driver as Charge shows it now: `fleets` is what it is linked to at this moment."""

    id: DriverId
    fleets: frozenset[FleetId]
    email: str = ""
    name: str = ""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet as Charge shows it now. `total_drivers` is `None` where Charge did not say."""

    id: FleetId
    name: str = ""
    status: str = "active"
    total_drivers: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Actual:
    """What Charge holds, as far as one reading saw it.

    `memberships` gives every driver seen its own `fleets`; a driver not in it was not seen, which proves nothing
    unless it stands in `absent` (Charge said 404) or `directory_complete` is true. `incomplete` gives each managed
    fleet whose listing cannot be trusted the reason; no membership of such a fleet may be taken for absent. `requests`
    is what the reading cost.
    """

    fleets: Mapping[FleetId, Fleet]
    memberships: Mapping[DriverId, frozenset[FleetId]]
    incomplete: Mapping[FleetId, str] = dataclasses.field(default_factory=dict)
    emails: Mapping[str, tuple[DriverId, ...]] = dataclasses.field(default_factory=dict)
    metadata: Mapping[tuple[str, str], tuple[DriverId, ...]] = dataclasses.field(default_factory=dict)
    names: Mapping[DriverId, str] = dataclasses.field(default_factory=dict)
    absent: frozenset[DriverId] = frozenset()
    directory_complete: bool = False
    requests: int = 0
