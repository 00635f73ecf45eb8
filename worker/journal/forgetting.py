"""Keeps the people who were forgotten out of everything that is written.

A tombstone has the driver's id and, of each e-mail address, a digest that is salted with it: enough to recognise the
address in a text, and to write nothing of it. Invariant: without tombstones, nothing is changed. Neighbours:
`sql_journal` passes every text through this, `queries` has the statements.
"""

import collections
import datetime
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from worker.core.model.identifiers import DriverId
from worker.core.model.people import Person
from worker.core.model.serialization import format_time
from worker.core.planning import references
from worker.journal import connection, queries

FORGOTTEN = "[forgotten]"
"""What is written instead of a name or an address."""

_AROUND_AN_AT = re.compile(r"([^\s@]+)@(?=([^\s@]+))")
_EDGE = re.compile(r"[\"'`<>()\[\]{},;:=|/\\]")
"""Characters that may enclose an address, or belong to it: in front of it may also be the key of an entry."""


def digest(driver: DriverId, email: str) -> str:
    """Return the salted digest of an e-mail address."""
    text = f"{driver}\n{references.lower_ascii(email)}"
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


class Tombstones:
    """The people who were forgotten."""

    def __init__(self, rows: Iterable[Mapping[str, str]] = ()) -> None:
        """Take rows with `driver` and `digest`; a driver without an address has an empty one."""
        self._digests: dict[DriverId, set[str]] = collections.defaultdict(set)
        for row in rows:
            self._digests[DriverId(row["driver"])].add(row["digest"])

    def __contains__(self, driver: object) -> bool:
        """Return whether the driver was forgotten."""
        return driver in self._digests

    def knows_address(self, text: str) -> bool:
        """Return whether a text is the e-mail address of a person who was forgotten."""
        return "@" in text and any(digest(driver, text) in digests for driver, digests in self._digests.items())

    def eraser(self, people: Mapping[DriverId, Person] | None = None) -> Callable[[str], str]:
        """Return a function that takes the addresses of the forgotten out of a text; of `people`, the names too."""
        if not self._digests:
            return lambda text: text
        erase_names = eraser(person.name for driver, person in (people or {}).items() if driver in self)
        return lambda text: erase_names(self._without_addresses(text))

    def _without_addresses(self, text: str) -> str:
        parts, done = list[str](), 0
        for around in _AROUND_AN_AT.finditer(text):
            for start, end in _spans(around):
                if start >= done and self.knows_address(text[start:end]):
                    parts += [text[done:start], FORGOTTEN]
                    done = end
                    break
        return "".join([*parts, text[done:]])


def _spans(around: re.Match[str]) -> Iterator[tuple[int, int]]:
    """Yield where an address may begin and end, the longest first."""
    before, after = around.groups()
    starts = [0, *(edge.end() for edge in _EDGE.finditer(before))]
    ends = [len(after), *reversed([edge.start() for edge in _EDGE.finditer(after)])]
    for end in dict.fromkeys(len(after[:each].rstrip(".!?")) for each in ends):
        for start in starts:
            if start < len(before) and end:
                yield around.start() + start, around.end() + end


def eraser(texts: Iterable[str]) -> Callable[[str], str]:
    """Return a function that takes these names or addresses out of a text, where they appear as whole words."""
    wanted = [re.escape(each) for each in sorted(set(texts), key=len, reverse=True) if each]
    if not wanted:
        return lambda text: text
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(wanted)})(?!\w)", re.IGNORECASE)
    return lambda text: pattern.sub(FORGOTTEN, text)


def erased(value: Any, erase: Callable[[str], str]) -> Any:
    """Return a JSON value with every text in it erased."""
    match value:
        case str():
            return erase(value)
        case list():
            return [erased(each, erase) for each in value]
        case dict():
            return {key: erased(each, erase) for key, each in value.items()}
        case _:
            return value


def forget(database: connection.Connection, *, driver: DriverId, now: datetime.datetime) -> None:
    """Erase a driver's name and addresses everywhere, and leave a tombstone. Call it in a transaction that writes."""
    about = {"driver": driver}
    known = [row[kind] for row in database.query(queries.DELETE_NAME, about) for kind in ("name", "email") if row[kind]]
    addresses = {row["reference"] for row in database.query(queries.DELETE_REFERENCES, about)}
    addresses |= {each for each in known if "@" in each}
    tombstones = [{**about, "digest": digest(driver, each)} for each in sorted(addresses)] or [{**about, "digest": ""}]
    database.write_rows(queries.FORGET, tombstones, {"now": format_time(now)})
    texts = sorted({*known, *addresses})
    for text in texts:
        pattern = {"pattern": queries.containing(references.lower_ascii(json.dumps(text)[1:-1]))}
        _erase_documents(database, pattern, eraser(texts))
    _erase_messages(database, eraser(texts))


def _erase_documents(database: connection.Connection, pattern: Mapping[str, str], erase: Callable[[str], str]) -> None:
    def without(document: str | None) -> str | None:
        return None if document is None else json.dumps(erased(json.loads(document), erase))

    for row in database.query(queries.LISTS_WITH, pattern):
        database.execute(queries.REPLACE_LIST, {"name": row["name"], "content": without(row["content"])})
    for row in database.query(queries.RUNS_WITH, pattern):
        documents = {kind: without(row[kind]) for kind in ("plan", "report")}
        database.execute(queries.REPLACE_DOCUMENTS, {"number": row["number"], **documents})


def _erase_messages(database: connection.Connection, erase: Callable[[str], str]) -> None:
    for row in database.query(queries.MESSAGES):
        if (message := erase(row["message"])) != row["message"]:
            database.execute(queries.REPLACE_MESSAGE, {"key": row["key"], "message": message})
