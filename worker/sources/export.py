"""Writes what Charge holds as a membership document.

Invariant: reading the document back, in any format, gives exactly the memberships that were written.
Neighbours: `documents` reads such documents; `cli.export` prints them.
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

Form = Literal["yaml", "json", "csv"]
By = Literal["id", "email"]

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(@[A-Za-z0-9.-]*[A-Za-z0-9])?")


def write(actual: Actual, *, form: Form, by: By) -> str:
    """Write every fleet with its drivers, sorted. By e-mail, a driver without an address of its own keeps its id.

    CSV has no way to write a fleet that nobody is in: it leaves such fleets out, which leaves them unmanaged.
    """
    people = _People(actual, by=by)
    members: dict[FleetId, list[DriverId]] = {fleet: [] for fleet in sorted(actual.fleets)}
    for driver, fleets in sorted(actual.memberships.items()):
        for fleet in fleets & members.keys():
            members[fleet].append(driver)
    return {"yaml": _yaml, "json": _json, "csv": _csv}[form](members, people)


class _People:
    """How drivers are written, and what they and fleets are called."""

    def __init__(self, actual: Actual, *, by: By) -> None:
        self._names = actual.names
        self._fleets = actual.fleets
        unique = {found[0]: email for email, found in actual.emails.items() if len(found) == 1}
        self._written: Mapping[DriverId, str] = unique if by == "email" else {}

    def reference(self, driver: DriverId) -> str:
        """Give what stands for the driver: an address only where the document's reader takes it for one."""
        email = self._written.get(driver, "")
        return email if _PLAIN.fullmatch(email) and "@" in email and KEY_PREFIX not in email else driver

    def comment(self, driver: DriverId) -> str:
        name = self._names.get(driver, "")
        return "" if name == self.reference(driver) else _comment(name)

    def fleet_comment(self, fleet: FleetId) -> str:
        return _comment(self._fleets[fleet].name)


Members = Mapping[FleetId, list[DriverId]]
_Writer = Callable[[Members, _People], str]


def _yaml(members: Members, people: _People) -> str:
    lines = ["fleets:" if members else "fleets: {}"]
    for fleet, drivers in members.items():
        empty = "" if drivers else " []"
        lines.append(f"  {fleet}:{empty}{people.fleet_comment(fleet)}")
        lines.extend(f"    - {people.reference(driver)}{people.comment(driver)}" for driver in drivers)
    return "\n".join(lines) + "\n"


def _json(members: Members, people: _People) -> str:
    fleets = {fleet: [people.reference(driver) for driver in drivers] for fleet, drivers in members.items()}
    return json.dumps({"fleets": fleets}, indent=2, ensure_ascii=False) + "\n"


def _csv(members: Members, people: _People) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["driver", "fleet"])
    writer.writerows((people.reference(driver), fleet) for fleet, drivers in members.items() for driver in drivers)
    return text.getvalue()


def _comment(name: str) -> str:
    """Write a name behind a line; what cannot be printed is left out, and so is a key that it quotes."""
    text = "".join(letter for letter in redact(name) if letter.isprintable()).strip()
    return f"  # {text}" if text else ""
