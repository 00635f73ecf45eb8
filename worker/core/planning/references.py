"""Parses references to drivers and fleets as membership documents write them.

Invariant: text stays text; nothing is guessed or repaired. Text that cannot be a reference is refused with a message
that says what to write instead. Neighbours: `sources` calls this for every row, `resolver` resolves references.
"""

import re
import string
from collections.abc import Sequence
from typing import cast

from worker.core.model.desired import (
    DriverByEmail,
    DriverById,
    DriverByMetadata,
    DriverRef,
    FleetById,
    FleetByName,
    FleetRef,
)
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.rows import Key
from worker.core.planning import near_misses

_ID = {kind: re.compile(rf"{kind}_[A-Za-z0-9]{{32}}") for kind in ("drv", "flt")}
_IN_NO_EMAIL = rf"""\s<>()\[\],;:"\\{near_misses.VARIATION_SELECTORS}"""
"""Characters that no address has, except in quoted or bracketed forms, which are not accepted."""
_EMAIL = re.compile(f"[^@{_IN_NO_EMAIL}]+@[^@{_IN_NO_EMAIL}]+")

_USUAL = r"[!#-'*+./0-9=?A-Z^-~-]"
_USUAL_CHARACTERS = "".join(filter(re.compile(_USUAL).fullmatch, map(chr, range(128)))).encode()
_VISIBLE_CHARACTERS = bytes(range(ord("!"), ord("~") + 1))
_KEY = re.compile("[A-Za-z0-9_.-]+")
_PLAIN = re.compile(rf"(drv_[A-Za-z0-9]{{32}})|({_KEY.pattern})=([!-~]+)|{_USUAL}+@{_USUAL}+")
"""The usual references, of visible ASCII: what it matches needs no further check, which takes most of the time."""
_NOT_OF_EMAIL = re.compile(f"mailto:|[{_IN_NO_EMAIL}]", re.IGNORECASE)
_METADATA = re.compile(r"([A-Za-z0-9_.-]+)=(.+)", re.DOTALL)
_BLANK = re.compile(f"[{near_misses.BLANKS}]")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def parse_driver(text: str) -> DriverRef:
    """Return the driver reference: an id, `key=value` of its metadata, or an e-mail address without `=`.

    Raises ValueError with a message for the operator if the text is none of the three.
    """
    if plain := _PLAIN.fullmatch(text):
        driver, key, value = plain.groups()
        if key:
            return DriverByMetadata(key, value)
        return DriverById(DriverId(driver)) if driver else DriverByEmail(text.lower())
    _require_visible(text, "refer to the driver by id")
    if text.startswith("drv_") and not set("@=") & set(text):
        return DriverById(parse_driver_id(text))
    if entry := _METADATA.fullmatch(text):
        if entry[2].strip() != entry[2]:
            raise ValueError(f"{_shown(text)} has a space after the =: remove it, or refer to the driver by id")
        return DriverByMetadata(entry[1], entry[2])
    if _EMAIL.fullmatch(text):
        return DriverByEmail(lower_ascii(text))
    if "@" in text and (extra := _NOT_OF_EMAIL.search(text)):
        raise ValueError(f"{_shown(text)} contains {extra[0]!r}, which no e-mail address has: write only the address")
    raise ValueError(
        f"{_shown(text)} is not a valid driver reference: write a driver id (drv_ and 32 letters or digits), "
        "an e-mail address, or metadata as key=value"
    )


def parse_fleet(text: str) -> FleetRef:
    """Return the fleet reference: an id if it starts with `flt_`, else the fleet's exact name.

    Raises ValueError with a message for the operator if the text is a malformed id, empty, or has characters that
    cannot be seen.
    """
    if not text.strip():
        raise ValueError("a fleet needs an id (flt_ and 32 letters or digits) or a name")
    _require_visible(text, "refer to the fleet by id")
    if text.startswith("flt_"):
        return FleetById(parse_fleet_id(text))
    return FleetByName(text)


def lower_ascii(text: str) -> str:
    """Return an e-mail address as it is compared: ASCII letters in lower case, everything else unchanged.

    Full lower case would make different addresses equal: that of KELVIN SIGN is k.
    """
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _require_visible(text: str, otherwise: str) -> None:
    """Refuse characters that make different references look the same."""
    if not text.isprintable() or _BLANK.search(text):  # a loop over every character would be most of the time
        invisible = next(each for each in text if not each.isprintable() or _BLANK.match(each))
        raise ValueError(f"invisible character U+{ord(invisible):04X} in a reference: remove it, or {otherwise}")
    if text and text.strip() != text:
        raise ValueError(f"{_shown(text)} begins or ends with a space: remove it, or {otherwise}")


def parse_uniform(texts: Sequence[str]) -> Sequence[Key] | None:
    """Return the keys of texts that are all ids, metadata of one key, or usual e-mail addresses; else None.

    It is `parse_driver` for many, in a third of the time: what each text must be is asked of all of them together.
    """
    if all(map(_ID["drv"].fullmatch, texts)):
        return cast(Sequence[DriverId], texts)
    lines = "\n".join([*texts, ""])
    if not lines.isascii():
        return None
    encoded = lines.encode()
    if "=" in lines:
        return _metadata_of_one_key(lines, encoded, count=len(texts))
    if encoded.translate(None, _USUAL_CHARACTERS) != b"@\n" * len(texts):
        return None  # otherwise every text has one @, and no other character that is not usual, nor a line break
    if b"\n@" in b"\n" + encoded or b"@\n" in encoded:
        return None
    return list(map(DriverByEmail, lines[:-1].lower().split("\n")))


def _metadata_of_one_key(lines: str, encoded: bytes, *, count: int) -> Sequence[Key] | None:
    """Return the keys of that many lines, which is each text with a line break after it."""
    key = lines.partition("=")[0]
    _, *values = f"\n{lines[:-1]}".split(f"\n{key}=")
    is_visible = encoded.translate(None, _VISIBLE_CHARACTERS) == b"\n" * count
    if not is_visible or not _KEY.fullmatch(key) or len(values) != count or not all(values):
        return None
    return [DriverByMetadata(key, value) for value in values]


def parse_driver_id(text: str) -> DriverId:
    """Return a driver id. Raises ValueError with a message for the operator if the text is anything else."""
    return DriverId(_id("drv", text))


def parse_fleet_id(text: str) -> FleetId:
    """Return a fleet id. Raises ValueError with a message for the operator if the text is anything else."""
    return FleetId(_id("flt", text))


def parse_membership(text: str) -> tuple[DriverId, FleetId]:
    """Return the membership of `drv_…/flt_…`, as in `[guard] must_see`. Raises ValueError for anything else."""
    driver_text, separator, fleet_text = text.partition("/")
    if not separator:
        raise ValueError(f"{_shown(text)} is not a membership: write drv_…/flt_…")
    return parse_driver_id(driver_text), parse_fleet_id(fleet_text)


def _id(kind: str, text: str) -> str:
    if not _ID[kind].fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a valid {kind}_ id: an id is {kind}_ and exactly 32 letters or digits")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
