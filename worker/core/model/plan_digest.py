"""Identifies a plan, its held changes, and a row, by a hash of their content.

Invariants: the digest of a plan covers format, account, changes and held changes; that of held changes covers the
sources that shrank, and not the other changes; neither covers positions of rows or times. The fingerprint of a row
covers its content and not its position.
Neighbours: `safety.guard` holds changes, `serialization` writes plans, `planning.planner` uses fingerprints.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from worker.core.model.desired import Row
from worker.core.model.identifiers import Account
from worker.core.model.source_history import ShrunkSource

if TYPE_CHECKING:
    from worker.core.model.plan import Change  # which has a digest itself

PLAN_FORMAT = "fleet-sync/plan@1"


def plan_digest(account: Account, changes: "Iterable[Change]", held: "Iterable[Change]") -> str:
    """Return the `sha256:…` of a whole plan, by which a saved plan is recognized."""
    return _digest(account, changes=changes, held=held)


def held_digest(account: Account, held: "Iterable[Change]", shrunk: Iterable[ShrunkSource] = ()) -> str:
    """Return the `sha256:…` of held changes and of sources that shrank, by which they are approved.

    It does not cover the changes that are allowed anyway, so that these do not make an approval invalid; nor the number
    of rows that such a source once had, which falls as earlier runs leave the window.
    """
    sizes = sorted([each.name, each.rows] for each in shrunk)
    return _digest(account, {"shrunk": sizes} if sizes else {}, held=held)


def _digest(account: Account, further: Mapping[str, object] | None = None, **changes: "Iterable[Change]") -> str:
    """Return the hash of the canonical JSON (sorted keys, no spaces)."""
    content = {
        **(further or {}),
        "format": PLAN_FORMAT,
        "account": {"base_url": account.base_url, "mode": account.mode},
        **{
            name: sorted([change.action, change.driver, change.fleet] for change in each)
            for name, each in changes.items()
        },
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def row_fingerprint(row: Row) -> str:
    """Return a short hash of what a row says. Moving the row does not change it; editing the row does."""
    moments = (None if each is None else each.isoformat() for each in (row.starts, row.ends))
    content = json.dumps([str(row.driver), str(row.fleet), *moments, row.note], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
