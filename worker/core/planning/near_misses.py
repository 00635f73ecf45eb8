"""Compares texts that differ but look alike or differ only in case, so that a problem can name what may be meant.

Invariant: a near miss is only named in a message; no reference resolves by it. Neighbours: `references` refuses
characters that cannot be meant, `inventory` and `resolver` find near misses of references that match nothing,
`sources.table_reader` those of cells that the settings do not list.
"""

import re
import unicodedata
from collections.abc import Iterable

from worker.core.model.desired import DriverByEmail, DriverByMetadata, DriverRef
from worker.core.model.identifiers import DriverId

BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0"
"""Characters without a shape that `str.isprintable` accepts: fillers, joiners and blanks."""

VARIATION_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Characters that change the look of the one before. Emoji need them."""

_INVISIBLE = re.compile(f"[{BLANKS}{VARIATION_SELECTORS}]")
_SHOWN_CODE_POINTS = 6


class Index:
    """The drivers that wanted references nearly match."""

    def __init__(self, references: Iterable[DriverRef]) -> None:
        """Look for near misses of the e-mail addresses and the metadata among these references."""
        self._emails: dict[str, list[DriverByEmail]] = {}
        self._metadata: dict[tuple[str, str], list[DriverByMetadata]] = {}
        self.found: dict[DriverRef, dict[DriverId, str]] = {}
        for reference in references:
            if isinstance(reference, DriverByEmail):
                self._emails.setdefault(fold(reference.email), []).append(reference)
            elif isinstance(reference, DriverByMetadata):
                self._metadata.setdefault((fold(reference.key), fold(reference.value)), []).append(reference)
        self._keys = frozenset(key for key, _ in self._metadata)

    def add_email(self, driver: DriverId, email: str, *, compared: str) -> None:
        """Record the driver for every reference that this address nearly matches; it is compared as `compared`."""
        for reference in self._emails.get(fold(email), ()) if self._emails else ():
            if compared != reference.email:
                self._add(reference, driver, email, reference.email)

    def add_metadata(self, driver: DriverId, key: str, value: str) -> None:
        """Record the driver for every reference that this entry nearly matches."""
        if not self._keys or (folded := fold(key)) not in self._keys:
            return
        for reference in self._metadata.get((folded, fold(value)), ()):
            if value != reference.value:
                self._add(reference, driver, value, reference.value)
            elif key != reference.key:
                self._add(reference, driver, key, reference.key)

    def _add(self, reference: DriverRef, driver: DriverId, actual: str, written: str) -> None:
        self.found.setdefault(reference, {})[driver] = describe(actual, written)

    def merge(self, later: "Index") -> None:
        """Add what a later reading found."""
        for reference, drivers in later.found.items():
            self.found.setdefault(reference, {}).update(drivers)


def fold(text: str) -> str:
    """Return a text without letter case, Unicode form, invisible characters, and spaces at its ends.

    Two different texts with the same result are near misses of each other.
    """
    if text.isascii() and text.isprintable():
        return text.strip().lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _without_invisible(folded).strip()


def describe(actual: str, written: str, *, places: tuple[str, str] = ("Charge", "the source")) -> str:
    """Return how a text differs from its near miss; `places` says where each of the two is.

    Names the code points that differ, unless the difference is only one of letter case, which can be seen.
    """
    stripped = [text.strip() for text in (actual, written)]
    visible = [_without_invisible(text).strip() for text in stripped]
    normal = [unicodedata.normalize("NFKC", text) for text in visible]
    changed = [text != form for text, form in zip(visible, normal, strict=True)]
    same_form = normal[0] == normal[1]
    ways = {
        "leading or trailing spaces": stripped != [actual, written],
        "invisible characters": visible != stripped,
        "Unicode form": changed[0] != changed[1] or (same_form and visible[0] != visible[1]),
        "letter case": not same_form,
    }
    *others, last = [way for way, applies in ways.items() if applies]
    found = f"{', '.join(others)} and {last}" if others else last
    points = "" if found == "letter case" else f" ({_code_points(actual, written, places)})"
    return f"{found}{points}"


def _without_invisible(text: str) -> str:
    shown = (each for each in text if each.isprintable() or unicodedata.category(each) == "Zs")
    return _INVISIBLE.sub("", "".join(shown))


def _code_points(actual: str, written: str, places: tuple[str, str]) -> str:
    """Return the code points between the common beginning and the common end of both texts."""
    start = _common_length(actual, written)
    there, here = actual[start:], written[start:]
    end = _common_length(there[::-1], here[::-1])
    points = (_listed(there[: len(there) - end]), _listed(here[: len(here) - end]))
    return ", ".join(f"{listed} in {place}" for listed, place in zip(points, places, strict=True))


def _common_length(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _listed(characters: str) -> str:
    shown = " ".join(f"U+{ord(each):04X}" for each in characters[:_SHOWN_CODE_POINTS])
    return f"{shown} …" if len(characters) > _SHOWN_CODE_POINTS else shown or "nothing"
