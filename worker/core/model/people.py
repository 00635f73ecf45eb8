"""Names of drivers and fleets, which are untrusted text that people are shown.

Invariant: a name that passed `clean` is one line of printable characters without a key, so it can do no harm in a
terminal, a page, a log line or a metric. Neighbours: `actual` has the drivers of a reading, `plan` the names of those
concerned.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping

from worker.core.model.identifiers import DriverId
from worker.core.model.secret import redact

LONGEST_NAME = 200
"""Characters of a name or an e-mail address that are shown and stored."""

_ID = re.compile(r"\b(?:drv|flt)_[A-Za-z0-9]{1,64}\b")
_SEPARATOR = "\n"


def clean(text: str) -> str:
    """Return a text from outside as one short line of printable characters, with keys masked."""
    letters = (each if each.isprintable() else " " if each.isspace() else "\N{REPLACEMENT CHARACTER}" for each in text)
    line = " ".join(redact("".join(letters)).split())
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}…"


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """What Charge calls a driver; either may be empty."""

    name: str = ""
    email: str = ""

    @property
    def shown(self) -> str:
        """Return the name, or the e-mail address of a driver without one."""
        return self.name or self.email

    @property
    def cleaned(self) -> "Person":
        """Return the same person in harmless text."""
        return Person(clean(self.name), clean(self.email))


def pack(person: Person) -> str:
    """Return a person as one text, which takes a third of the memory: a reading may have a million."""
    return person.name + _SEPARATOR + person.email if person.email else person.name


class People(Mapping[DriverId, Person]):
    """The people of a reading, each unpacked when it is asked for."""

    def __init__(self, packed: Mapping[DriverId, str]) -> None:
        """Take what `pack` returned. The mapping may still grow."""
        self._packed = packed

    def __getitem__(self, driver: DriverId) -> Person:
        """Return a person. Raises KeyError."""
        name, _, email = self._packed[driver].rpartition(_SEPARATOR)
        return Person(name, email) if name or _SEPARATOR in self._packed[driver] else Person(email)

    def __iter__(self) -> Iterator[DriverId]:
        """Iterate over the drivers."""
        return iter(self._packed)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._packed)


def mentioned(texts: Collection[str]) -> frozenset[str]:
    """Return the ids of drivers and fleets in some texts."""
    return frozenset(found for text in texts for found in _ID.findall(text))


def annotate(text: str, names: Mapping[str, str]) -> str:
    """Return a text with the name before each id that has one, as in `Emma Bakker (drv_…)`."""
    return _ID.sub(lambda found: f"{names[found[0]]} ({found[0]})" if names.get(found[0]) else found[0], text)
