"""The secret key of a Charge account, wrapped so that it is not shown by accident.

Invariant: only `Secret.reveal` returns the key; `repr`, `str` and pickling do not.
Neighbours: `settings.secrets` finds the key, `charge.client` reveals it.
"""

import re

KEY_PREFIX = "ch_sk_"
"""The prefix of every secret key."""

_KEY = re.compile(KEY_PREFIX + r"""[^\s'"]*""")
_WHOLE_KEY = re.compile(KEY_PREFIX + "[A-Za-z0-9_]{12,}")
_MODES = {"ch_sk_test_": "test", "ch_sk_live_": "live"}


class Secret:
    """A secret key."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep the key."""
        self._text = text

    def __repr__(self) -> str:
        """Return a placeholder that contains nothing of the key."""
        return "Secret(***)"

    def __str__(self) -> str:
        """Return a placeholder that contains nothing of the key."""
        return "***"

    def __eq__(self, other: object) -> bool:
        """Return whether another secret is the same; not in constant time, so not for what a request sends."""
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        """Return a hash, which shows nothing of the key."""
        return hash(self._text)

    def __reduce__(self) -> str:
        """Raise TypeError: a key must not be pickled."""
        raise TypeError("a secret cannot be pickled")

    @property
    def mode(self) -> str:
        """Return the mode of the key by its prefix: `test`, `live`, or `unknown`."""
        return _MODES.get(self._text[: len("ch_sk_test_")], "unknown")

    def reveal(self) -> str:
        """Return the key itself, for the Authorization header."""
        return self._text


def redact(text: str) -> str:
    """Return the text with everything that looks like a secret key masked."""
    return _KEY.sub(f"{KEY_PREFIX}…", text)


def position_of_key(text: str) -> int | None:
    """Return where a text has something that looks like a whole key, or None: a mere prefix is no secret."""
    found = _WHOLE_KEY.search(text)
    return found.start() if found else None
