"""What no two accounts may have in common: a journal, a variable with the key, and the key itself.

Invariant: a key is compared by a digest that cannot be computed outside this process. Neighbours:
`core.model.account_files` keeps the claims, `account_supervisor` and `check` make them.
"""

import hashlib
import hmac
from collections.abc import Sequence

from worker.core.model.account_files import Claims
from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.journal import address as addresses
from worker.settings import model

_NAMES = {"journal": "journal", "variable": "variable for its key", "key": "key"}


def of_settings(settings: model.Settings) -> list[tuple[str, ...]]:
    """Return what the settings of an account claim. Raises errors.JournalError if its journal has no valid address."""
    address = addresses.parse(settings.journal_url)
    place = str(address.path) if address.path else address.url
    variable = settings.key_place.variable if settings.key_place else ""
    return [("journal", place, settings.journal_account), *([("variable", variable)] if variable else [])]


def of_key(settings: model.Settings, key: Secret, *, secret: bytes) -> tuple[str, ...]:
    """Return what the key of an account claims; `secret` is one of this process."""
    digest = hmac.new(secret, key.reveal().encode(), hashlib.sha256).hexdigest()
    return ("key", settings.charge.base_url, digest)


def require_own(claims: Claims, name: str, wanted: Sequence[tuple[str, ...]]) -> None:
    """Claim this for an account. Raises errors.SettingsError if another account has some of it: that one keeps it."""
    if (found := claims.claim(name, wanted)) is not None:
        claimed, owner = found
        problem = Problem(f"{name}.toml", f"the account {owner} has the same {_NAMES[claimed[0]]}")
        raise SettingsError([problem], remedy="Give each account a key and a journal of its own.")
