"""Everything that the reference leaves open, as switches: each field is one silent matter.

Invariant: every combination of values is a server that a client may meet; none contradicts the reference.
Neighbours: `endpoints`, `idempotency`, `limiter`, `pages` and `objects` obey the switches; `faults` is what goes wrong.
"""

import dataclasses
from typing import Literal

Repeated = Literal["ok", "conflict"]
"""An attach of what is attached, a detach of what is not: 200 without effect, or 409 `driver_fleet_conflict`."""

Admission = Literal["accept", "conflict", "policy_blocked"]
"""What an attach gets: it is done, or refused with 409 and the code `driver_fleet_conflict` or `policy_blocked`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """One plausible Charge. The defaults are an obliging one without a rate limit."""

    # --- memberships
    already_attached: Repeated = "ok"
    not_attached: Repeated = "ok"
    suspended_driver: Admission = "accept"
    archived_driver: Admission = "policy_blocked"
    suspended_fleet: Admission = "accept"
    archived_fleet: Admission = "policy_blocked"
    not_found: Literal["precise", "combined"] = "precise"
    """Whether a write to something missing says which of the two, or `driver_or_fleet_not_found`."""
    read_only: bool = False
    """A restricted key: every write gets 403."""

    # --- lists
    null_lists: bool = False
    pages: Literal["offset", "cursor"] = "offset"
    """`offset` pages shift when objects come and go meanwhile; `cursor` pages stay where they are."""
    page_cap: int | None = None
    """A listing silently ends after so many objects, whatever is left."""
    unknown_filter: Literal["not_found", "empty"] = "not_found"
    """What a list gets that filters by a fleet, driver or vehicle that does not exist."""
    total_drivers_offset: int = 0
    """How far `total_drivers` is from the truth."""

    # --- rate limit
    rate: float | None = None
    """Requests a second; `None` is no limit."""
    limit: Literal["bucket", "fixed", "sliding"] = "bucket"
    burst: int | None = None
    """The bucket's size; `None` is one second's worth."""
    window_seconds: float = 1.0
    """The window of `fixed` and `sliding`, which admit `rate` times the window in it."""
    retry_after: Literal["none", "seconds", "date"] = "none"
    rate_limit_headers: bool = False

    # --- idempotency
    stored_5xx: Literal["replay", "rerun", "outcome"] = "rerun"
    """What a retry after a 500 gets: the same 500, a second execution, or the outcome that the 500 hid."""
    reused_key: Literal["first_answer", "bad_request", "conflict"] = "first_answer"
    """What a key gets that comes back with another path or body."""
    key_lifetime_seconds: float = 24 * 3600.0

    # --- the rest
    latency_seconds: float = 0.0
    """Half of it passes before the effect, half after."""
    request_id_header: bool = True
    unknown_values: bool = False
    """Fields that the reference does not name everywhere, and statuses that it does not name on every third object."""


PLAUSIBLE = Quirks()
