"""The secret key of a Charge account, held so that it cannot be shown by accident.

Invariant: nothing but `Secret.reveal` gives a key away: not `repr`, not `str`, not a pickle.
Neighbours: `settings.key` finds the key, `charge.client` is the one that reveals it.
"""

import re

KEY_PREFIX = "ch_sk_"
"""How every secret key begins."""

_KEY = re.compile(KEY_PREFIX + r"""[^\s'"]*""")
_MODES = {"ch_sk_test_": "test", "ch_sk_live_": "live"}


class Secret:
    """A secret key."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep the key."""
        self._text = text

    def __repr__(self) -> str:
        """Show that there is a key, and nothing of it."""
        return "Secret(***)"

    def __str__(self) -> str:
        """Show that there is a key, and nothing of it."""
        return "***"

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied into something that is written down."""
        raise TypeError("a secret is never serialised")

    @property
    def mode(self) -> str:
        """Tell whose data the key opens: `test`, `live`, or `unknown` where its beginning does not say."""
        return _MODES.get(self._text[: len("ch_sk_test_")], "unknown")

    def reveal(self) -> str:
        """Give the key itself, for the one header that carries it."""
        return self._text


def redact(text: str) -> str:
    """Write the text with everything in it that looks like a secret key left out."""
    return _KEY.sub(f"{KEY_PREFIX}…", text)
