"""Finds names and e-mail addresses that a reference may misspell, so that a problem can suggest them.

Invariant: a suggestion is only named in a message; no reference resolves by it. Neighbours: `near_misses` finds texts
that look the same, `inventory` and `resolver` ask here about references that match nothing.
"""

import difflib
from collections.abc import Iterable, Sequence

MOST_CANDIDATES = 20_000
"""How many addresses are kept for suggestions. In a larger account there are none: they would take too much memory."""

_MOST_NAMES = 2_000
_CUTOFF = 0.75
_SHOWN = 2
_END = 3


def names(written: str, known: Iterable[str]) -> list[str]:
    """Return the known names that are most similar to this one, the best first."""
    candidates = sorted({name for name in known if name})
    if len(candidates) > _MOST_NAMES:
        return []
    return difflib.get_close_matches(written, candidates, n=_SHOWN, cutoff=_CUTOFF)


def question(suggestions: Sequence[str]) -> str:
    """Return suggestions as a part of a message, or nothing."""
    return f" (did you mean {' or '.join(suggestions)}?)" if suggestions else ""


def suggest(written: str, known: Iterable[str]) -> str:
    """Return the known names that are most similar to this one as a question, or nothing."""
    return question([f'"{name}"' for name in names(written, known)])


class Addresses:
    """Finds the addresses that differ from another one by one slip: a letter more, less, other or swapped.

    Any other domain counts as one slip too.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        """Index the addresses by their parts, so that each question is about a few of them."""
        self._index: dict[tuple[str, str], set[str]] = {}
        for address in addresses:
            for part in _parts(address):
                self._index.setdefault(part, set()).add(address)

    def similar(self, written: str) -> tuple[str, ...]:
        """Return the first few addresses, sorted, that this one may misspell."""
        local, _, domain = written.partition("@")
        found = {address for part in _parts(written) for address in self._index.get(part, ())}
        likely = (
            address
            for address in found
            if address.startswith(f"{local}@") or (address.endswith(f"@{domain}") and is_one_slip(address, written))
        )
        return tuple(sorted(likely)[:_SHOWN])


def _parts(address: str) -> tuple[tuple[str, str], ...]:
    """Return what an address shares with those that are one slip away.

    One slip leaves either the beginning or the end of the local part as it is.
    """
    local, _, domain = address.partition("@")
    return (("", local), (domain, f"{local[:_END]}*"), (domain, f"*{local[-_END:]}"))


def is_one_slip(one: str, other: str) -> bool:
    """Return whether two different texts become the same by adding, removing, replacing or swapping one letter."""
    short, long = sorted((one, other), key=len)
    start = next((at for at, pair in enumerate(zip(short, long, strict=False)) if pair[0] != pair[1]), len(short))
    if len(long) - len(short) == 1:
        return short[start:] == long[start + 1 :]
    if len(long) != len(short) or one == other:
        return False
    swapped = short[start : start + 2] == long[start : start + 2][::-1] and short[start + 2 :] == long[start + 2 :]
    return short[start + 1 :] == long[start + 1 :] or swapped
