"""Identifiers of drivers, fleets, runs, writes and accounts.

Invariant: each kind of id has its own type, so that mypy rejects a fleet id where a driver id belongs. Neighbours:
`desired`, `actual` and `plan` are built from these.
"""

import dataclasses
from collections.abc import Mapping
from typing import NewType

DriverId = NewType("DriverId", str)
FleetId = NewType("FleetId", str)
RunId = NewType("RunId", str)
Membership = tuple[DriverId, FleetId]
Resolutions = Mapping[str, DriverId | FleetId]
"""What references resolve to, by their text in a document. Names of fleets are in quotation marks, so none is equal to
a reference to a driver."""
IntentKey = NewType("IntentKey", str)
"""An idempotency key. All attempts of one write share it, and no other write uses it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """A Charge account: the base URL of the API, and the mode of the key (`test`, `live` or `unknown`)."""

    base_url: str
    mode: str
