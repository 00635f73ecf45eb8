"""Names a judged plan by its content, so that an approval or a saved file means exactly one plan.

Invariant: the digest covers format, account, and the changes and held changes (sorted), and nothing else: neither
where a row stands nor when the plan was made. A row has a name of the same kind: its fingerprint covers what it says,
and not its place. Neighbours: `guard` judges, `formats` writes plans down, `planner` tells rows apart.
"""

import hashlib
import json
from collections.abc import Iterable

from worker.core.model.desired import Row
from worker.core.model.identifiers import Account
from worker.core.model.plan import Change

PLAN_FORMAT = "fleet-sync/plan@1"


def plan_digest(account: Account, changes: Iterable[Change], held: Iterable[Change]) -> str:
    """Give `sha256:…` of the plan's canonical JSON (sorted keys, no spaces)."""
    content = {
        "format": PLAN_FORMAT,
        "account": {"base_url": account.base_url, "mode": account.mode},
        "changes": sorted([change.action, change.driver, change.fleet] for change in changes),
        "held": sorted([change.action, change.driver, change.fleet] for change in held),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def row_fingerprint(row: Row) -> str:
    """Give a short name to what a row says: to move it changes nothing, to edit it does."""
    moments = (None if each is None else each.isoformat() for each in (row.starts, row.ends))
    content = json.dumps([str(row.driver), str(row.fleet), *moments, row.note], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
