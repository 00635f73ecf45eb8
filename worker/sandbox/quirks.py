"""Everything that the reference leaves open, as switches.

Invariant: every combination of values is a plausible server, and none contradicts the reference.
Neighbours: `endpoints`, `idempotency`, `limiter`, `pages` and `objects` obey the switches; `faults` lists what can go
wrong on top.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

Repeated = Literal["ok", "conflict"]
"""The answer to a redundant attach or detach: 200 without effect, or 409 `driver_fleet_conflict`."""

Admission = Literal["accept", "conflict", "policy_blocked", "ignore"]
"""The answer to an attach: 200, 409 `driver_fleet_conflict`, 409 `policy_blocked`, or 200 without effect."""

Malformation = Literal["surrogate", "types", "no_id"]
"""What is wrong with an object: half a surrogate pair in its name, fields of other types, or a number as its id."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """The switches. The defaults are a cooperative server without a rate limit."""

    # --- memberships
    already_attached: Repeated = "ok"
    not_attached: Repeated = "ok"
    suspended_driver: Admission = "accept"
    archived_driver: Admission = "policy_blocked"
    suspended_fleet: Admission = "accept"
    archived_fleet: Admission = "policy_blocked"
    not_found: Literal["precise", "combined"] = "precise"
    """Whether a 404 to a write says which object is missing, or `driver_or_fleet_not_found`."""
    not_kept: frozenset[str] = frozenset()
    """Drivers whose attach is answered with 200 and the new fleet, although the driver is not attached."""
    read_only: bool = False
    """Whether the key is restricted: every write gets 403."""
    forbidden: frozenset[str] = frozenset()
    """Drivers and fleets that the key may not access: every request about them gets 403."""

    # --- reads
    list_lag_seconds: float = 0.0
    """How far lists lag behind writes: they show the memberships as they were this long ago."""
    read_lag_seconds: float = 0.0
    """How far single drivers and fleets lag behind writes. The answer to a write is always current."""
    malformed: Mapping[str, Malformation] = dataclasses.field(default_factory=dict)
    """Drivers and fleets whose object is malformed."""

    # --- lists
    null_lists: bool = False
    pages: Literal["offset", "cursor"] = "offset"
    """`offset` pages shift when objects are added or removed between two pages; `cursor` pages do not."""
    page_cap: int | None = None
    """The number of objects after which a listing ends without saying so."""
    unknown_filter: Literal["not_found", "empty"] = "not_found"
    """The answer to a list that filters by a fleet, driver or vehicle that does not exist."""
    total_drivers_offset: int = 0
    """Added to the true `total_drivers`."""

    # --- rate limit
    rate: float | None = None
    """Requests per second; None is no limit."""
    limit: Literal["bucket", "fixed", "sliding"] = "bucket"
    burst: int | None = None
    """The size of the bucket; None is the requests of one second."""
    window_seconds: float = 1.0
    """The window of `fixed` and `sliding`, which admit `rate` times `window_seconds` requests in it."""
    retry_after: Literal["none", "seconds", "date"] = "none"
    injected_retry_after_seconds: float = 1.0
    """How long the 429 of a fault asks the client to wait."""
    rate_limit_headers: bool = False

    # --- idempotency
    stored_5xx: Literal["replay", "rerun", "outcome"] = "rerun"
    """The answer to a retry after a 500: the same 500, that of a new execution, or the outcome behind the 500."""
    reused_key: Literal["first_answer", "bad_request", "conflict"] = "first_answer"
    """The answer to a request whose key was used with another path or body."""
    key_lifetime_seconds: float = 24 * 3600.0

    # --- other
    latency_seconds: float = 0.0
    """The latency of every request, half of it before the effect and half after."""
    late_seconds: tuple[float, float] = (1.0, 30.0)
    """The shortest and the longest time after which a write with the fault `late` or `late_504` takes effect."""
    date_header: bool = True
    date_skew_seconds: float = 0.0
    """How far the server's clock, and so its `Date` header, is ahead."""
    request_id_header: bool = True
    unknown_values: bool = False
    """Whether objects have fields, and every third object a status, that the reference does not name."""


PLAUSIBLE = Quirks()
