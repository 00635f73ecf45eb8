"""Signs saved plans, so that only a holder of the key can write one that is applied.

Invariant: the signature covers every value of the document and neither its formatting nor the order of its keys.
Neighbours: `settings.secrets` finds the key, `cli.plan_file` saves and verifies.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from worker.core.model.secret import Secret

FIELD = "signature"
"""The key of the document that has the signature, and is not signed."""


def sign(document: Mapping[str, Any], key: Secret) -> str:
    """Return the signature of a document: HMAC with SHA-256 over its canonical JSON."""
    signed = {name: value for name, value in document.items() if name != FIELD}
    canonical = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"hmac-sha256:{hmac.new(key.reveal().encode(), canonical.encode(), hashlib.sha256).hexdigest()}"


def is_signed(document: Mapping[str, Any], key: Secret) -> bool:
    """Return whether a document has the signature that this key gives it."""
    return hmac.compare_digest(str(document.get(FIELD, "")).encode(), sign(document, key).encode())
