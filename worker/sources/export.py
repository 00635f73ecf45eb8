"""Writes the memberships in Charge as a membership document.

Invariant: reading the document back, in any format, yields exactly the memberships that were written.
Neighbours: `membership_document` interprets such documents; `cli.document_commands` prints them.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from typing import Literal

from worker.core.model.actual import Actual
from worker.core.model.identifiers import DriverId, FleetId
from worker.core.model.secret import KEY_PREFIX, redact

Format = Literal["yaml", "json", "csv"]
ReferenceStyle = Literal["id", "email"]

_FORMULA = ("=", "+", "-", "@")
_SAFE_EMAIL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*@[A-Za-z0-9.-]*[A-Za-z0-9]")


def write(actual: Actual, *, form: Format, by: ReferenceStyle) -> str:
    """Return a document with every fleet and its drivers, sorted.

    With `by="email"`, drivers without a unique address are still written by id. CSV cannot express a fleet without
    drivers: it omits such fleets, so they stay unmanaged.
    """
    labels = _Labels(actual, by=by)
    members: dict[FleetId, list[DriverId]] = {fleet: [] for fleet in sorted(actual.fleets)}
    for driver, fleets in sorted(actual.memberships.items()):
        for fleet in fleets & members.keys():
            members[fleet].append(driver)
    return {"yaml": _yaml, "json": _json, "csv": _csv}[form](members, labels)


class _Labels:
    """Chooses each driver's reference, and the names that are written as comments."""

    def __init__(self, actual: Actual, *, by: ReferenceStyle) -> None:
        self._people = actual.people
        self._fleets = actual.fleets
        unique = {found[0]: email for email, found in actual.emails.items() if len(found) == 1}
        self._references: Mapping[DriverId, str] = unique if by == "email" else {}

    def reference(self, driver: DriverId) -> str:
        """Return an address only if every format can read it back as one, else the id."""
        email = self._references.get(driver, "")
        return email if _SAFE_EMAIL.fullmatch(email) and KEY_PREFIX not in email else driver

    def name(self, driver: DriverId) -> str:
        """Return the name, unless the reference says the same."""
        name = self._people[driver].shown if driver in self._people else ""
        return "" if name == self.reference(driver) else _printable(name)

    def comment(self, driver: DriverId) -> str:
        return _comment(self.name(driver))

    def cell(self, driver: DriverId) -> str:
        """Return the name as the cell of a table, which no spreadsheet takes for a formula."""
        name = self.name(driver)
        return f"'{name}" if name.startswith(_FORMULA) else name

    def fleet_comment(self, fleet: FleetId) -> str:
        return _comment(self._fleets[fleet].name)


Members = Mapping[FleetId, list[DriverId]]
_Writer = Callable[[Members, _Labels], str]


def _yaml(members: Members, labels: _Labels) -> str:
    lines = ["fleets:" if members else "fleets: {}"]
    for fleet, drivers in members.items():
        empty = "" if drivers else " []"
        lines.append(f"  {fleet}:{empty}{labels.fleet_comment(fleet)}")
        lines.extend(f"    - {labels.reference(driver)}{labels.comment(driver)}" for driver in drivers)
    return "\n".join(lines) + "\n"


def _json(members: Members, labels: _Labels) -> str:
    fleets = {fleet: [labels.reference(driver) for driver in drivers] for fleet, drivers in members.items()}
    return json.dumps({"fleets": fleets}, indent=2, ensure_ascii=False) + "\n"


def _csv(members: Members, labels: _Labels) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["driver", "fleet", "name"])
    writer.writerows(
        (labels.reference(driver), fleet, labels.cell(driver))
        for fleet, drivers in members.items()
        for driver in drivers
    )
    return text.getvalue()


def _comment(name: str) -> str:
    """Return a name as a YAML comment."""
    text = _printable(name)
    return f"  # {text}" if text else ""


def _printable(name: str) -> str:
    """Return a name without unprintable characters, and with secret keys redacted."""
    return "".join(character for character in redact(name) if character.isprintable()).strip()
