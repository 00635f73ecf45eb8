"""How a driver or a fleet is written in a membership document, and what that means.

Invariant: text stays text; nothing is guessed or repaired. What cannot be a reference is refused with words that
say what to write instead. Neighbours: `sources` calls this for every row, `resolver` looks references up.
"""

import re

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

_ID = {kind: re.compile(rf"{kind}_[A-Za-z0-9]{{32}}") for kind in ("drv", "flt")}
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")
_METADATA = re.compile(r"([A-Za-z0-9_.-]+)=(.+)", re.DOTALL)


def parse_driver(text: str) -> DriverRef:
    """Read a driver reference: an id, `key=value` of its metadata, or an e-mail address without `=`.

    Raises ValueError, with words for the operator, where the text is none of the three.
    """
    if text.startswith("drv_") and not set("@=") & set(text):
        return DriverById(parse_driver_id(text))
    if entry := _METADATA.fullmatch(text):
        return DriverByMetadata(entry[1], entry[2])
    if _EMAIL.fullmatch(text):
        return DriverByEmail(text.lower())
    raise ValueError(
        f"{_shown(text)} is no driver: write a driver id (drv_ and 32 letters or digits), "
        "an e-mail address, or metadata as key=value"
    )


def parse_fleet(text: str) -> FleetRef:
    """Read a fleet reference: an id where it starts with `flt_`, else the fleet's exact name.

    Raises ValueError, with words for the operator, where the text is a malformed id, or empty.
    """
    if text.startswith("flt_"):
        return FleetById(parse_fleet_id(text))
    if not text.strip():
        raise ValueError("a fleet needs an id (flt_ and 32 letters or digits) or a name")
    return FleetByName(text)


def parse_driver_id(text: str) -> DriverId:
    """Read a driver's id. Raises ValueError, with words for the operator, where the text is anything else."""
    return DriverId(_id("drv", text))


def parse_fleet_id(text: str) -> FleetId:
    """Read a fleet's id. Raises ValueError, with words for the operator, where the text is anything else."""
    return FleetId(_id("flt", text))


def parse_membership(text: str) -> tuple[DriverId, FleetId]:
    """Read `drv_…/flt_…`, as `[guard] must_see` lists them. Raises ValueError where it is not that."""
    driver_text, separator, fleet_text = text.partition("/")
    if not separator:
        raise ValueError(f"{_shown(text)} is no membership: write drv_…/flt_…")
    return parse_driver_id(driver_text), parse_fleet_id(fleet_text)


def _id(kind: str, text: str) -> str:
    if not _ID[kind].fullmatch(text):
        raise ValueError(f"{_shown(text)} is no {kind}_ id: an id is {kind}_ and exactly 32 letters or digits")
    return text


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
