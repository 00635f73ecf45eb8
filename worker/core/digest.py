"""Names a judged plan by its content, so that an approval or a saved file means exactly one plan.

Invariant: the digest covers format, account, and the changes and held changes (sorted), and nothing else: neither
where a row stands nor when the plan was made. Neighbours: `guard` judges, `formats` writes plans down.
"""

import hashlib
import json
from collections.abc import Iterable

from worker.core import values

PLAN_FORMAT = "fleet-sync/plan@1"


def digest(account: values.Account, changes: Iterable[values.Change], held: Iterable[values.Change]) -> str:
    """Give `sha256:…` of the plan's canonical JSON (sorted keys, no spaces)."""
    content = {
        "format": PLAN_FORMAT,
        "account": {"base_url": account.base_url, "mode": account.mode},
        "changes": sorted([change.action, change.driver, change.fleet] for change in changes),
        "held": sorted([change.action, change.driver, change.fleet] for change in held),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
