"""Doubles of what the engine needs of the world: sources, journals and watchers that do as they are told.

Neighbours: `tests.support.harness` puts them together with the real engine; `tests.support.sandbox` doubles for Charge.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx

from tests.support import clocks, memory_journal
from worker.core.model.desired import FleetEntry, Mode, Origin, Row, SourceReading, SourceRevision
from worker.core.model.errors import JournalError, SourceError
from worker.core.model.identifiers import Account, IntentKey, RunId
from worker.core.model.outcomes import Outcome
from worker.core.model.plan import Change, Cost, GuardedPlan
from worker.core.model.ports import Intent, Stage
from worker.core.model.problem import Problem
from worker.core.model.report import Report
from worker.core.planning import references


def guarded(changes: Sequence[Change]) -> GuardedPlan:
    """Make a judged plan of just these changes, all of them allowed."""
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
    )


class Source:
    """Implements ports.Source: wants what it is given, row by row, each on a line of its own."""

    def __init__(self, wanted: Mapping[Any, Iterable[str]], *, modes: Mapping[Any, Mode] | None = None) -> None:
        """Take the drivers of each fleet as a document would name them."""
        self._wanted = {fleet: list(drivers) for fleet, drivers in wanted.items()}
        self._modes = modes or {}

    async def read(self) -> SourceReading:
        """Read it whole."""
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
    """Implements ports.Source: cannot be read."""

    async def read(self) -> SourceReading:
        """Fail."""
        raise SourceError([Problem("wanted", "it is gone")])

    async def peek(self) -> str | None:
        """Fail."""
        raise SourceError([Problem("wanted", "it is gone")])


class Watcher:
    """Implements ports.Progress, and remembers what it was told."""

    def __init__(self) -> None:
        """Start having seen nothing."""
        self.stages: list[tuple[Stage, int | None]] = []
        self.steps = 0

    def stage(self, name: Stage, total: int | None) -> None:
        """Note the stage."""
        self.stages.append((name, total))

    def step(self, count: int = 1) -> None:
        """Count the steps."""
        self.steps += count


class ResponseTamper(httpx.AsyncBaseTransport):
    """A connection to a server that answers as another does, but for what `meddle` makes of its 200s.

    `meddle` gets the request and the document of the answer, and gives another document, or None to leave it alone.
    """

    def __init__(self, server: httpx.AsyncBaseTransport, meddle: Callable[[httpx.Request, Any], object | None]) -> None:
        """Take the server's own connection."""
        self._server = server
        self._meddle = meddle

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as the server does, but for the meddling."""
        response = await self._server.handle_async_request(request)
        if response.status_code != 200:
            return response
        body = await response.aread()
        other = self._meddle(request, json.loads(body))
        headers = {"request-id": response.headers.get("request-id", "")}
        content = body if other is None else json.dumps(other).encode()
        return httpx.Response(200, content=content, headers=headers)


class Revoking(httpx.AsyncBaseTransport):
    """A connection whose server no longer takes the key once it has answered so many requests; it counts the others."""

    def __init__(self, server: httpx.AsyncBaseTransport, left: list[int]) -> None:
        """Take the server's own connection, and how many requests are left, which may go below zero."""
        self._server = server
        self._left = left

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or reject the key."""
        self._left[0] -= 1
        if self._left[0] < 0:
            return httpx.Response(401, json={"type": "authentication_error", "message": "The key is revoked."})
        return await self._server.handle_async_request(request)


class IntentCheckingTransport(httpx.AsyncBaseTransport):
    """A connection that lets no write through whose intent is not in the journal; others it notes and refuses."""

    def __init__(
        self, server: httpx.AsyncBaseTransport, journal: memory_journal.MemoryJournal, missing: list[str]
    ) -> None:
        """Take the server's own connection, the journal, and where to note what is missing there."""
        self._server = server
        self._journal = journal
        self._missing = missing

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Look into the journal before a write goes on."""
        if request.method == "POST":
            key = IntentKey(request.headers["idempotency-key"])
            intended = self._journal.intents.get(key)
            fleet = json.loads(request.content)["fleet"]
            shown = f"/v1/drivers/{intended.driver}/{intended.action} {intended.fleet}" if intended else ""
            if shown != f"{request.url.path} {fleet}" or key in self._journal.outcomes:
                self._missing.append(f"{request.url.path} {fleet} under {key}")
                return httpx.Response(400)
        return await self._server.handle_async_request(request)


class FailingJournal(memory_journal.MemoryJournal):
    """A journal in memory whose disk is full from a certain call on: `begin`, the n-th `record`, or `finish`."""

    def __init__(self, fails: str, *, after: int = 0) -> None:
        """Take the method that fails, once it succeeded `after` times."""
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
        spent: str | None = None,
    ) -> None:
        """Begin, or fail."""
        self._spend("begin")
        await super().begin(run, trigger=trigger, guarded=guarded, intents=intents, spent=spent)

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
