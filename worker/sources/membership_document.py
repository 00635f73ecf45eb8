"""What a membership document means: managed fleets and rows out of plain data, whichever format it came in.

Invariant: every problem of a document is found in one pass, each with its place, and text stays text. Nothing of a
document with a problem may be used. Neighbours: `syntax` has the plain data, `core.references` reads references,
`files` decides what becomes of the problems.
"""

import dataclasses
import datetime
import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from worker.core.model.desired import DriverRef, FleetEntry, FleetRef, Mode, Origin, Row
from worker.core.model.problem import Problem
from worker.core.model.secret import KEY_PREFIX, redact
from worker.core.planning import references
from worker.sources import positions

KEYS = ("fleets",)
FLEET_KEYS = ("mode", "drivers")
ROW_KEYS = ("driver", "from", "until", "note")

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
    r"(Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LEAKED = "this looks like a secret key of Charge: remove it, and revoke the key"
_NOBODY = "write [] if nobody is meant to be in this fleet"
_DRIVER = "write an id, an e-mail address or key=value"
_DATE_WORDS = "write it as 2026-12-31, or with a time as 2026-12-31T08:00:00Z"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """What one document says, and everything that is wrong with it."""

    fleets: tuple[FleetEntry, ...]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


def read(document: positions.Document, name: str) -> Contents:
    """Give the document's fleets and rows their meaning; `name` stands in every place."""
    reader = _Reader(document, name)
    for offset, message in document.faults:
        reader.problem(document.lines.at(offset), message)
    reader.document()
    return reader.contents()


def problem(name: str, place: positions.Place, message: str) -> Problem:
    """Make a problem of a document. A secret key that got into the document does not get into the message."""
    return Problem(f"{name}:{place[0]}:{place[1]}", redact(message))


@functools.lru_cache(maxsize=1024)
def moment(text: str) -> datetime.datetime:
    """Read a date, which means midnight UTC, or a date and time with its offset, as UTC.

    Raises ValueError, with words for the operator, where the text is neither.
    """
    upper = text.upper()
    try:
        if _DATE.fullmatch(upper):
            return datetime.datetime.fromisoformat(upper).replace(tzinfo=datetime.UTC)
        if not (found := _MOMENT.fullmatch(upper)):
            raise ValueError
        parsed = datetime.datetime.fromisoformat(upper)
        if found[1]:
            return parsed.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{positions.shown(text)} is no date: {_DATE_WORDS}") from None
    raise ValueError(f"{positions.shown(text)} has no time zone: append Z for UTC, or an offset like +02:00")


class _Reader:
    """One pass over one document."""

    def __init__(self, document: positions.Document, name: str) -> None:
        self._document = document
        self._name = name
        self._fleets: list[FleetEntry] = []
        self._rows: list[Row] = []
        self._problems: list[tuple[positions.Place, str]] = []

    def contents(self) -> Contents:
        problems = tuple(problem(self._name, place, message) for place, message in sorted(self._problems))
        return Contents(tuple(self._fleets), tuple(self._rows), problems)

    def problem(self, place: positions.Place, message: str) -> None:
        self._problems.append((place, message))

    def document(self) -> None:
        data = self._document.data
        if data is None:
            return self.problem((1, 1), "the document is empty: a source that names no fleet is taken for a mistake")
        if not isinstance(data, dict):
            return self.problem(self._document.at(()), 'a membership document begins with the key "fleets"')
        self._unknown(data, KEYS, (), 'a membership document has one key, "fleets"')
        fleets = data.get("fleets")
        if "fleets" not in data:
            return self.problem((1, 1), 'the key "fleets" is missing: write it, and below it the fleets to manage')
        if fleets == {} and self._document.faults:
            return None  # whatever it named is at fault
        if not isinstance(fleets, dict) or not fleets:
            words = "write fleets by id or name, each with its drivers; a source without any is taken for a mistake"
            return self.problem(self._document.at(("fleets",)), f'"fleets" names no fleet: {words}')
        for key, entry in fleets.items():
            self._fleet(key, entry)
        return None

    def _fleet(self, key: str, entry: object) -> None:
        path: positions.Path = ("fleets", key)
        place = self._document.key_at(path)
        fleet = mode = None
        try:
            fleet = _fleet_reference(key)
        except ValueError as error:
            self.problem(place, str(error))
        if isinstance(entry, dict):
            mode, entry = self._settings(entry, path)
            path = (*path, "drivers")
        elif entry is None:
            self.problem(place, f"the drivers of this fleet are missing: list them, or {_NOBODY}")
        elif not isinstance(entry, list):
            self.problem(self._document.at(path), f"the drivers of a fleet are a list, even a single one; {_NOBODY}")
        if fleet is not None:
            self._fleets.append(FleetEntry(fleet, Origin(self._name, *place), mode))
        if isinstance(entry, list):
            self._drivers(fleet, entry, path)

    def _settings(self, entry: Mapping[str, object], path: positions.Path) -> tuple[Mode | None, object]:
        """Read a fleet's mapping form."""
        self._unknown(entry, FLEET_KEYS, path, "a fleet has the keys mode and drivers")
        mode = None
        if "mode" in entry:
            if entry["mode"] in tuple(Mode):
                mode = Mode(str(entry["mode"]))
            else:
                written = entry["mode"] if isinstance(entry["mode"], str) else ""
                words = f"write exact, or additive to never detach{positions.near(written, Mode)}"
                self.problem(self._document.at((*path, "mode")), f"no such mode: {words}")
        drivers = entry.get("drivers")
        if not isinstance(drivers, list):
            place = self._document.key_at((*path, "drivers"))
            self.problem(place, f'"drivers" needs a list of drivers; {_NOBODY}')
        return mode, drivers

    def _drivers(self, fleet: FleetRef | None, entries: list[object], path: positions.Path) -> None:
        for index, entry in enumerate(entries):
            here = (*path, index)
            if isinstance(entry, str):
                self._row(fleet, entry, here)
            elif isinstance(entry, dict):
                self._mapping(fleet, entry, here)
            else:
                self.problem(self._document.at(here), f"a driver is missing: {_DRIVER}")

    def _mapping(self, fleet: FleetRef | None, entry: Mapping[str, object], path: positions.Path) -> None:
        self._unknown(entry, ROW_KEYS, path, "a row has driver, from, until and note; metadata is written key=value")
        texts = {key: self._text(entry[key], key, path) for key in ROW_KEYS if key in entry}
        starts = self._checked(moment, texts.get("from"), (*path, "from"))
        ends = self._checked(moment, texts.get("until"), (*path, "until"))
        if starts and ends and ends <= starts:
            words = '"until" is not after "from": it names the first moment without the membership'
            self.problem(self._document.at((*path, "until")), words)
        note = self._checked(_note, texts.get("note"), (*path, "note")) or ""
        if "driver" not in entry:
            self.problem(self._document.at(path), f"the driver is missing: {_DRIVER}")
        elif driver := texts["driver"]:
            self._row(fleet, driver, (*path, "driver"), starts=starts, ends=ends, note=note)

    def _row(
        self,
        fleet: FleetRef | None,
        text: str,
        path: positions.Path,
        *,
        starts: datetime.datetime | None = None,
        ends: datetime.datetime | None = None,
        note: str = "",
    ) -> None:
        driver = self._checked(_driver_reference, text, path)
        if fleet is not None and driver is not None:
            origin = Origin(self._name, *self._document.at(path))
            self._rows.append(Row(fleet, driver, origin, starts, ends, note))

    def _text(self, value: object, key: str, path: positions.Path) -> str | None:
        if isinstance(value, str) and (value or key == "note"):
            return value
        self.problem(self._document.at((*path, key)), f'"{key}" has no text: write one, or leave the key out')
        return None

    def _checked(self, read_text: Callable[[str], T], text: str | None, path: positions.Path) -> T | None:
        if text is None:
            return None
        try:
            return read_text(text)
        except ValueError as error:
            self.problem(self._document.at(path), str(error))
            return None

    def _unknown(self, entry: Mapping[str, object], known: Collection[str], path: positions.Path, words: str) -> None:
        for key in entry:
            if key not in known:
                message = f"unknown key {positions.shown(key)}: {words}{positions.near(key, known)}"
                self.problem(self._document.key_at((*path, key)), message)


def _driver_reference(text: str) -> DriverRef:
    _clean(text, "leave it out, or name the driver by its id")
    return references.parse_driver(text)


def _fleet_reference(text: str) -> FleetRef:
    _clean(text, "leave it out, or name the fleet by its id")
    return references.parse_fleet(text)


def _clean(text: str, words: str) -> None:
    """Refuse what nobody sees and nobody can compare, and a secret key that got among the references."""
    if not text.isprintable():
        odd = next(character for character in text if not character.isprintable())
        raise ValueError(f"an invisible character (U+{ord(odd):04X}) in a reference: {words}")
    if KEY_PREFIX in text:
        raise ValueError(_LEAKED)


def _note(text: str) -> str:
    if found := _CONTROL.search(text):
        raise ValueError(f"a control character (U+{ord(found[0]):04X}) in a note: remove it")
    if KEY_PREFIX in text:
        raise ValueError(_LEAKED)
    return text
