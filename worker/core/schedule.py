"""Tells when what should be will change by itself, with nobody touching a document.

Invariant: pure; the moment given lies after `now`, and nothing changes before it. Neighbours: `values.Row` has the
boundaries, `grace` the others; the service wakes at what this says.
"""

import datetime
from collections.abc import Iterable

from worker.core import values


def next_boundary(
    rows: Iterable[values.Row], *, grace_ends: datetime.datetime | None = None, now: datetime.datetime
) -> datetime.datetime | None:
    """Give the first moment after `now` at which a row begins or ends, or a grace does; None where there is none."""
    moments = (moment for row in rows for moment in (row.starts, row.ends) if moment is not None and moment > now)
    boundary = min(moments, default=None)
    if grace_ends is None or grace_ends <= now:
        return boundary
    return grace_ends if boundary is None else min(boundary, grace_ends)
