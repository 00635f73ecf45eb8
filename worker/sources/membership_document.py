"""Interprets a membership document: turns plain data of any format into managed fleets and rows.

Invariant: one pass finds every problem, each with its place, and text stays text. Nothing of a document that has a
problem may be used. Neighbours: `positions` defines the plain data, `core.planning.references` parses references,
`file_source` raises the problems.
"""

import dataclasses
import datetime
import functools
import itertools
import re
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar, cast

from worker.core.model.desired import DriverRef, FleetEntry, FleetRef, Mode, Origin, Row
from worker.core.model.problem import Problem
from worker.core.model.rows import Batch, Key, Rows, key_of
from worker.core.model.secret import KEY_PREFIX, redact
from worker.core.planning import days, references
from worker.sources import positions, years

KEYS = ("fleets",)
FLEET_KEYS = ("mode", "description", "drivers")
ROW_KEYS = ("driver", "from", "until", "note")

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_MOMENTS = 65_536
"""How many moments are remembered while a document is read: every day of a century and a half."""

ENDS_TOO_EARLY = '"until" must be after "from": it is the first moment without the membership'
_LEAKED_KEY = "this looks like a secret Charge key: remove it, and revoke the key"
_EMPTY_LIST = "write [] for a fleet without drivers"
DRIVER_FORMS = "write an id, an e-mail address or key=value"
_DATE_FORMS = "write 2026-12-31, or with a time 2026-12-31T08:00:00Z"

_Moments = Sequence[datetime.datetime | None]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """The fleets and rows of one document, and its problems.

    `count` is the number of rows before any of them is left out; `code` is the error code if there are problems.
    `notices` are harmless. `proof` is what shows that the document is whole (`completeness`).
    """

    fleets: tuple[FleetEntry, ...]
    rows: Rows
    problems: tuple[Problem, ...]
    count: int = 0
    code: str = positions.INVALID
    notices: tuple[Problem, ...] = ()
    proof: str = "none"


def read(document: positions.Document, name: str, *, zone: datetime.tzinfo | None = datetime.UTC) -> Contents:
    """Return the fleets, rows and problems of a document; places begin with `name`. Raises Malformed if it is empty.

    `zone` is that of dates without a time; None: that of their fleet, so that they stay naive.
    """
    reader = _Reader(document, name, zone)
    for offset, message in document.faults:
        reader.problem(document.lines.at(offset), message)
    reader.document()
    return reader.contents()


def contents(
    name: str,
    *,
    fleets: Sequence[FleetEntry] = (),
    rows: Sequence[Row] = (),
    problems: Iterable[tuple[positions.Place, str]],
    count: int = 0,
    code: str = positions.INVALID,
    spell: Callable[[positions.Place], str] = positions.line_and_column,
) -> Contents:
    """Return the contents of a document, its problems sorted by place. `spell` writes a place."""
    found = tuple(Problem(f"{name}:{spell(place)}", redact(message)) for place, message in sorted(problems))
    return Contents(tuple(fleets), Rows.of(rows), found, count, code)


def problem(name: str, place: positions.Place, message: str) -> Problem:
    """Create a problem at a place of a document. A secret key in the message is redacted."""
    return Problem(f"{name}:{positions.line_and_column(place)}", redact(message))


@functools.lru_cache(maxsize=1024)
def moment(text: str, zone: datetime.tzinfo | None = datetime.UTC) -> datetime.datetime:
    """Parse a date, or a date and time with an offset, and return it in UTC.

    A date begins when that day does in its zone; without one, its naive midnight is returned. Raises ValueError with a
    message for the operator if the text is neither.
    """
    upper = text.upper()
    is_day = _DATE.fullmatch(upper)
    try:
        if not is_day and not _MOMENT.fullmatch(upper):
            raise ValueError
        parsed = datetime.datetime.fromisoformat(upper)
        found = parsed.astimezone(datetime.UTC) if parsed.tzinfo else parsed
    except (ValueError, OverflowError):
        raise ValueError(f"{positions.quote(text)} is not a date: {_DATE_FORMS}") from None
    years.require_plausible(text, parsed.year)
    if is_day:
        return days.start_of_day(parsed, zone) if zone else parsed
    if not parsed.tzinfo:
        raise ValueError(f"{positions.quote(text)} has no time zone: append Z for UTC, or an offset such as +02:00")
    return found


class Moments(dict[str, datetime.datetime | None]):
    """The moment that each text means, parsed at its first lookup. An empty text means None."""

    def __init__(self, parse: Callable[[str], datetime.datetime]) -> None:
        """Keep what parses a text, which may raise ValueError."""
        super().__init__()
        self._parse = parse

    def __missing__(self, text: str) -> datetime.datetime | None:
        """Parse a text."""
        found = self._parse(text) if text else None
        if len(self) < _MOMENTS:
            self[text] = found
        return found

    def periods(self, starts: Sequence[str], ends: Sequence[str]) -> tuple[_Moments, _Moments] | None:
        """Return the starts and the ends of many rows, or nothing where none has one. None if one of them is wrong."""
        try:
            found = list(map(self.__getitem__, starts)), list(map(self.__getitem__, ends))
        except ValueError:
            return None
        if any(map(is_inverted, itertools.compress(*found), filter(None, found[1]))):
            return None
        return found[0] if any(found[0]) else (), found[1] if any(found[1]) else ()


def is_inverted(starts: datetime.datetime | None, ends: datetime.datetime | None) -> bool:
    """Return whether a row ends before it begins. If only one of both is naive, that one counts as in UTC."""
    if starts is None or ends is None:
        return False
    if (starts.tzinfo is None) is not (ends.tzinfo is None):
        starts, ends = starts.replace(tzinfo=datetime.UTC), ends.replace(tzinfo=datetime.UTC)
    return ends <= starts


class _Reader:
    """One pass over one document."""

    def __init__(self, document: positions.Document, name: str, zone: datetime.tzinfo | None) -> None:
        self._document = document
        self._name = name
        self._moment = functools.partial(moment, zone=zone)
        self._fleets: list[FleetEntry] = []
        self._rows = Rows()
        self._problems: list[tuple[positions.Place, str]] = []

    def contents(self) -> Contents:
        return contents(
            self._name,
            fleets=self._fleets,
            rows=self._rows,
            problems=self._problems,
            count=len(self._rows),
        )

    def problem(self, place: positions.Place, message: str) -> None:
        self._problems.append((place, message))

    def document(self) -> None:
        data = self._document.data
        if data is None or data == {}:
            raise positions.Malformed((1, 1), positions.EMPTY, code="source_empty")
        if not isinstance(data, dict):
            return self.problem(self._document.at(()), 'a membership document is a mapping with the key "fleets"')
        self._refuse_unknown_keys(data, KEYS, (), 'the only key of a membership document is "fleets"')
        fleets = data.get("fleets")
        if "fleets" not in data:
            return self.problem((1, 1), 'the key "fleets" is missing: add it, with the fleets to manage below it')
        if fleets == {} and self._document.faults:
            return None  # the faults say which fleets are wrong
        if not isinstance(fleets, dict) or not fleets:
            message = '"fleets" contains no fleet: write at least one, by id or name, with its drivers'
            if not fleets and not self._problems:
                raise positions.Malformed(self._document.at(("fleets",)), message, code="source_empty")
            return self.problem(self._document.at(("fleets",)), message)
        for key, entry in fleets.items():
            self._fleet(key, entry)
        return None

    def _fleet(self, key: str, entry: object) -> None:
        path: positions.Path = ("fleets", key)
        place = self._document.key_at(path)
        fleet = mode = None
        try:
            fleet = parse_fleet(key)
        except ValueError as error:
            self.problem(place, str(error))
        if isinstance(entry, dict):
            mode, entry = self._settings(entry, path)
            path = (*path, "drivers")
        elif entry is None:
            self.problem(place, f"this fleet has no list of drivers: list them, or {_EMPTY_LIST}")
        elif not isinstance(entry, list):
            self.problem(
                self._document.at(path), f"the drivers of a fleet are a list, even if there is only one; {_EMPTY_LIST}"
            )
        if fleet is not None:
            self._fleets.append(FleetEntry(fleet, Origin(self._name, *place), mode))
        if isinstance(entry, list):
            self._drivers(fleet, entry, path)

    def _settings(self, entry: Mapping[str, object], path: positions.Path) -> tuple[Mode | None, object]:
        """Read a fleet that is written as a mapping; return its mode and drivers."""
        self._refuse_unknown_keys(entry, FLEET_KEYS, path, "the keys of a fleet are mode, description and drivers")
        mode = None
        if "mode" in entry:
            if entry["mode"] in tuple(Mode):
                mode = Mode(str(entry["mode"]))
            else:
                written = entry["mode"] if isinstance(entry["mode"], str) else ""
                suggestion = positions.did_you_mean(written, Mode)
                message = f"unknown mode: write exact, or additive to never detach{suggestion}"
                self.problem(self._document.at((*path, "mode")), message)
        if "description" in entry:
            self._description(entry["description"], (*path, "description"))
        drivers = entry.get("drivers")
        if not isinstance(drivers, list):
            place = self._document.key_at((*path, "drivers"))
            self.problem(place, f'"drivers" must be a list; {_EMPTY_LIST}')
        return mode, drivers

    def _description(self, value: object, path: positions.Path) -> None:
        """Check a description, which is for people: nothing comes of it."""
        if not isinstance(value, str):
            return self.problem(self._document.at(path), '"description" has no text: write one, or remove the key')
        if KEY_PREFIX in value:
            self.problem(self._document.at(path), _LEAKED_KEY)
        return None

    def _drivers(self, fleet: FleetRef | None, entries: list[object], path: positions.Path) -> None:
        """Read the rows of a fleet. Each entry is dropped after that, or large documents would be in memory twice."""
        at, marks = self._document.lines.at, self._document.items_at(path)
        if isinstance(marks, array):
            return self._texts(fleet, cast(list[str], entries), marks)
        for index, mark in enumerate(marks):
            entry = entries[index]
            if isinstance(entry, str) and isinstance(mark, int):
                self._row(fleet, entry, at(mark))
            elif isinstance(entry, dict):
                self._mapping(fleet, entry, (*path, index), mark)
            elif isinstance(entry, Batch):
                self._batch(fleet, entry)
            else:
                self.problem(self._document.at((*path, index)), f"this is not a driver: {DRIVER_FORMS}")
            entries[index] = None
        return None

    def _texts(self, fleet: FleetRef | None, entries: list[str], marks: Sequence[int]) -> None:
        """Read rows that are nothing but the text of a driver each."""
        lines, columns = self._document.lines.each(marks)
        keys = parse_drivers(entries)
        if fleet is None or keys is None:
            for text, *place in zip(entries, lines, columns, strict=True):
                self._row(fleet, text, (place[0], place[1]))
        else:
            self._batch(fleet, Batch(keys, lines, columns))
        entries.clear()

    def _batch(self, fleet: FleetRef | None, batch: Batch) -> None:
        if fleet is not None:
            self._rows.extend(batch, [self._rows.number(fleet)] * len(batch.keys), name=self._name)

    def _mapping(
        self, fleet: FleetRef | None, entry: Mapping[str, object], path: positions.Path, mark: positions.Mark
    ) -> None:
        self._refuse_unknown_keys(
            entry, ROW_KEYS, path, "the keys of a row are driver, from, until and note; write metadata as key=value"
        )
        texts = {key: self._text(entry[key], key, path) for key in ROW_KEYS if key in entry}
        starts = self._parsed(self._moment, texts.get("from"), (*path, "from"))
        ends = self._parsed(self._moment, texts.get("until"), (*path, "until"))
        if is_inverted(starts, ends):
            self.problem(self._document.at((*path, "until")), ENDS_TOO_EARLY)
        note = self._parsed(parse_note, texts.get("note"), (*path, "note")) or ""
        if "driver" not in entry:
            self.problem(self._document.at(path), f"the driver is missing: {DRIVER_FORMS}")
        elif driver := texts["driver"]:
            place = self._document.entry_at(mark, entry, "driver")
            self._row(fleet, driver, place, starts=starts, ends=ends, note=note)

    def _row(
        self,
        fleet: FleetRef | None,
        text: str,
        place: positions.Place,
        *,
        starts: datetime.datetime | None = None,
        ends: datetime.datetime | None = None,
        note: str = "",
    ) -> None:
        try:
            driver = parse_driver(text)
        except ValueError as error:
            return self.problem(place, str(error))
        if fleet is not None:
            self._rows.append(Row(fleet, driver, Origin(self._name, *place), starts, ends, note))
        return None

    def _text(self, value: object, key: str, path: positions.Path) -> str | None:
        if isinstance(value, str) and (value or key == "note"):
            return value
        self.problem(self._document.at((*path, key)), f'"{key}" has no text: write one, or remove the key')
        return None

    def _parsed(self, parse: Callable[[str], T], text: str | None, path: positions.Path) -> T | None:
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.problem(self._document.at(path), str(error))
            return None

    def _refuse_unknown_keys(
        self, entry: Mapping[str, object], known: Collection[str], path: positions.Path, advice: str
    ) -> None:
        for key in entry:
            if key not in known:
                message = f"unknown key {positions.quote(key)}: {advice}{positions.did_you_mean(key, known)}"
                self.problem(self._document.key_at((*path, key)), message)


def parse_driver(text: str) -> DriverRef:
    """Parse a driver reference. Raises ValueError with a message for the operator."""
    if KEY_PREFIX in text:
        raise ValueError(_LEAKED_KEY)
    return references.parse_driver(text)


def parse_drivers(texts: Sequence[str]) -> Sequence[Key] | None:
    """Parse many driver references; return their keys, or None if one of them is invalid."""
    if KEY_PREFIX in "\n".join(texts):
        return None
    try:
        return references.parse_uniform(texts) or [key_of(references.parse_driver(text)) for text in texts]
    except ValueError:
        return None


def parse_fleet(text: str) -> FleetRef:
    """Parse a fleet reference. Raises ValueError with a message for the operator."""
    _refuse_secret_key(text)
    return references.parse_fleet(text)


def parse_note(text: str) -> str:
    """Return a note unchanged. Raises ValueError if it contains a control character or a secret key."""
    if found := _CONTROL.search(text):
        raise ValueError(f"control character U+{ord(found[0]):04X} in a note: remove it")
    _refuse_secret_key(text)
    return text


def parse_notes(texts: Sequence[str]) -> Sequence[str] | None:
    """Return many notes unchanged, or nothing if all are empty. None if one of them is invalid."""
    try:
        parse_note("\n".join(texts))
    except ValueError:
        return None
    return texts if any(texts) else ()


def _refuse_secret_key(text: str) -> None:
    if KEY_PREFIX in text:
        raise ValueError(_LEAKED_KEY)
