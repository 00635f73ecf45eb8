"""Test doubles for the edges of the engine: sources, journals, progress and transports.

Neighbours: `tests.support.harness` wires them with the real engine; `tests.support.sandbox` stands in for Charge.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import httpx

from tests.support import clocks, memory_journal
from worker.core.model.desired import FleetEntry, Mode, Origin, Row, SourceReading, SourceRevision
from worker.core.model.errors import JournalError, SourceError
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import Outcome, Unknown
from worker.core.model.plan import Action, Change, ConcernedDriver, Cost, GuardedPlan
from worker.core.model.ports import Intent, Stage
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.planning import references


def guarded(
    changes: Sequence[Change], *, seen: Callable[[DriverId], frozenset[FleetId]] = lambda driver: frozenset()
) -> GuardedPlan:
    """Return a plan of just these changes, all of them allowed. Sources want what they lead to from what is `seen`."""
    concerned = {
        driver: ConcernedDriver(
            seen(driver),
            frozenset({each.fleet for each in changes if (each.driver, each.action) == (driver, Action.ATTACH)})
            | seen(driver) - {each.fleet for each in changes if each.driver == driver},
        )
        for driver in {change.driver for change in changes}
    }
    return GuardedPlan(
        account=Account("https://charge.test/v1", "test"),
        created=clocks.NOON,
        sources=(),
        changes=tuple(changes),
        held=(),
        problems=(),
        in_sync=0,
        fleets=1,
        drivers=1,
        cost=Cost(1, 0.1),
        digest="sha256:0",
        concerned=concerned,
    )


class Source:
    """Implements ports.Source with the given memberships, each on its own line."""

    poll_seconds = 2.0

    def __init__(self, wanted: Mapping[Any, Iterable[str]], *, modes: Mapping[Any, Mode] | None = None) -> None:
        """Store the drivers of each fleet, named as in a document."""
        self._wanted = {fleet: list(drivers) for fleet, drivers in wanted.items()}
        self._modes = modes or {}

    async def read(self) -> SourceReading:
        """Return the whole reading."""
        fleets, rows, line = [], [], 0
        for fleet, drivers in self._wanted.items():
            line += 1
            named = references.parse_fleet(fleet)
            fleets.append(FleetEntry(named, Origin("wanted", line, 1), self._modes.get(fleet)))
            for driver in drivers:
                line += 1
                rows.append(Row(named, references.parse_driver(driver), Origin("wanted", line, 3)))
        revision = SourceRevision("double", "wanted", "sha256:0")
        return SourceReading(revision, tuple(fleets), tuple(rows))

    async def peek(self) -> str | None:
        """Return the only revision there is."""
        return "0"


class BrokenSource:
    """Implements ports.Source: every read fails."""

    poll_seconds = 2.0

    async def read(self) -> SourceReading:
        """Fail."""
        raise SourceError([Problem("wanted", "it is gone")])

    async def peek(self) -> str | None:
        """Fail."""
        raise SourceError([Problem("wanted", "it is gone")])


class Watcher:
    """Implements ports.Progress and remembers its calls."""

    def __init__(self) -> None:
        """Start without calls."""
        self.stages: list[tuple[Stage, int | None]] = []
        self.steps = 0

    def stage(self, name: Stage, total: int | None) -> None:
        """Record a stage."""
        self.stages.append((name, total))

    def step(self, count: int = 1) -> None:
        """Count the steps."""
        self.steps += count


class ResponseTamper(httpx.AsyncBaseTransport):
    """A transport that replaces the documents of a server's 200s by those of `tamper`.

    `tamper` receives the request and the document, and returns another document, or None to keep it.
    """

    def __init__(self, server: httpx.AsyncBaseTransport, tamper: Callable[[httpx.Request, Any], object | None]) -> None:
        """Wrap the transport of the server."""
        self._server = server
        self._tamper = tamper

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the server's answer, tampered with."""
        response = await self._server.handle_async_request(request)
        if response.status_code != 200:
            return response
        body = await response.aread()
        other = self._tamper(request, json.loads(body))
        headers = {"request-id": response.headers.get("request-id", "")}
        content = body if other is None else json.dumps(other).encode()
        return httpx.Response(200, content=content, headers=headers)


class Revoking(httpx.AsyncBaseTransport):
    """A transport whose server rejects the key after a number of requests, and counts the rest."""

    def __init__(self, server: httpx.AsyncBaseTransport, left: list[int]) -> None:
        """Wrap the transport of the server. `left` is the number of requests left, and may fall below zero."""
        self._server = server
        self._left = left

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the server's answer, or a 401."""
        self._left[0] -= 1
        if self._left[0] < 0:
            return httpx.Response(401, json={"type": "authentication_error", "message": "The key is revoked."})
        return await self._server.handle_async_request(request)


class IntentCheckingTransport(httpx.AsyncBaseTransport):
    """A transport that notes and refuses writes without an intent in the journal."""

    def __init__(
        self, server: httpx.AsyncBaseTransport, journal: memory_journal.MemoryJournal, missing: list[str]
    ) -> None:
        """Wrap the transport of the server. Writes without an intent in the journal are appended to `missing`."""
        self._server = server
        self._journal = journal
        self._missing = missing

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Check the journal before passing on a write."""
        if request.method == "POST":
            key = IntentKey(request.headers["idempotency-key"])
            intended = self._journal.intents.get(key)
            fleet = json.loads(request.content)["fleet"]
            shown = f"/v1/drivers/{intended.driver}/{intended.action} {intended.fleet}" if intended else ""
            if shown != f"{request.url.path} {fleet}" or not isinstance(
                self._journal.outcomes.get(key), Unknown | None
            ):
                self._missing.append(f"{request.url.path} {fleet} under {key}")
                return httpx.Response(400)
        return await self._server.handle_async_request(request)


class FailingJournal(memory_journal.MemoryJournal):
    """A journal in memory whose disk is full from a certain call on: `begin`, `add_intents`, `record` or `finish`."""

    def __init__(self, fails: str, *, after: int = 0) -> None:
        """Store the method that fails after `after` successful calls."""
        super().__init__()
        self._fails = fails
        self._left = after

    async def begin(
        self,
        run: RunId,
        *,
        trigger: str,
        guarded: GuardedPlan,
        intents: Sequence[Intent],
        resent: Collection[IntentKey] = (),
        spent: str | None = None,
    ) -> None:
        """Begin, or fail."""
        self._spend("begin")
        await super().begin(run, trigger=trigger, guarded=guarded, intents=intents, resent=resent, spent=spent)

    async def add_intents(self, run: RunId, intents: Sequence[Intent]) -> None:
        """Add intents, or fail."""
        self._spend("add_intents")
        await super().add_intents(run, intents)

    async def record(self, group: Sequence[tuple[IntentKey, Outcome]]) -> None:
        """Record, or fail."""
        self._spend("record")
        await super().record(group)

    async def finish(self, finished: Report, *, trigger: str) -> None:
        """Finish, or fail."""
        self._spend("finish")
        await super().finish(finished, trigger=trigger)

    def _spend(self, method: str) -> None:
        if method != self._fails:
            return
        if self._left == 0:
            raise JournalError("no space left on device")
        self._left -= 1
