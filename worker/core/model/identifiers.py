"""Identify drivers, fleets, runs, writes and accounts.

Invariant: an id is text with a type of its own, so that mypy tells a driver from a fleet. Neighbours: `desired`,
`actual` and `plan` are built from these.
"""

import dataclasses
from typing import NewType

DriverId = NewType("DriverId", str)
FleetId = NewType("FleetId", str)
RunId = NewType("RunId", str)
Membership = tuple[DriverId, FleetId]
IntentKey = NewType("IntentKey", str)
"""An idempotency key. It belongs to one intent: shared by the retries of one write, by no other write."""


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Whose memberships these are: the API's base address, and the key's mode (`test`, `live` or `unknown`)."""

    base_url: str
    mode: str
