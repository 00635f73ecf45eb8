"""What Charge replies, as values: pages of a listing, and the reply to a write.

Invariant: an object that cannot be read is named or counted, never left out. Neighbours: `charge.codec` decodes these,
`ports.Charge` returns them.
"""

import dataclasses
from typing import NewType

from worker.core.model.actual import Driver, Fleet
from worker.core.model.identifiers import DriverId, FleetId

Cursor = NewType("Cursor", str)
"""Points to the next page of a listing. Opaque: passed back exactly as it was received."""


@dataclasses.dataclass(frozen=True, slots=True)
class DriverPage:
    """One page of drivers; `next` is `None` at the end of the listing.

    `malformed` are the drivers whose object cannot be read; `unidentified` counts the objects without a valid id.
    """

    drivers: tuple[Driver, ...]
    next: Cursor | None
    malformed: tuple[DriverId, ...] = ()
    unidentified: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of fleets; `next` is `None` at the end of the listing.

    `malformed` are the fleets whose object cannot be read; `unidentified` counts the objects without a valid id.
    """

    fleets: tuple[Fleet, ...]
    next: Cursor | None
    malformed: tuple[FleetId, ...] = ()
    unidentified: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class WriteReply:
    """The driver as the reply to a write shows it, and the request id if the reply has one."""

    driver: Driver
    request_id: str | None = None
