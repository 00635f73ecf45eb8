"""Identifies a plan, and a row, by a hash of its content.

Invariants: the digest of a plan covers format, account, changes and held changes, and nothing else: neither the
position of a row nor the time of the plan. The fingerprint of a row covers its content and not its position.
Neighbours: `safety.guard` holds changes, `serialization` writes plans, `planning.planner` uses fingerprints.
"""

import hashlib
import json
from collections.abc import Iterable

from worker.core.model.desired import Row
from worker.core.model.identifiers import Account
from worker.core.model.plan import Change

PLAN_FORMAT = "fleet-sync/plan@1"


def plan_digest(account: Account, changes: Iterable[Change], held: Iterable[Change]) -> str:
    """Return the `sha256:…` of the plan's canonical JSON (sorted keys, no spaces)."""
    content = {
        "format": PLAN_FORMAT,
        "account": {"base_url": account.base_url, "mode": account.mode},
        "changes": sorted([change.action, change.driver, change.fleet] for change in changes),
        "held": sorted([change.action, change.driver, change.fleet] for change in held),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def row_fingerprint(row: Row) -> str:
    """Return a short hash of what a row says. Moving the row does not change it; editing the row does."""
    moments = (None if each is None else each.isoformat() for each in (row.starts, row.ends))
    content = json.dumps([str(row.driver), str(row.fleet), *moments, row.note], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
