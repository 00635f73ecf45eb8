"""What a simulated process is made of and given: its parts, its host and its world.

Neighbours: `world` makes it, `simulated_process` uses it; a planted defect is another `Parts`.
"""

import dataclasses
import random
from collections.abc import Callable

import trio
import trio.testing

from tests.simulation import audit, documents, draw, expected_state, fake_journal, journal_storage
from tests.support import clocks
from worker.charge import client, transport
from worker.engine import cancellation, rate_limiter, request_executor, wiring
from worker.sandbox import app


@dataclasses.dataclass(frozen=True)
class Parts:
    """The classes of the product. To plant a defect, replace one."""

    engine: wiring.Parts = wiring.DEFAULT_PARTS
    new_executor: type[request_executor.RequestExecutor] = request_executor.RequestExecutor
    new_client: type[client.Client] = client.Client
    new_transport: type[transport.Transport] = transport.Transport
    new_limiter: type[rate_limiter.RateLimiter] = rate_limiter.RateLimiter
    new_cancellation: type[cancellation.Cancellation] = cancellation.Cancellation
    new_journal: type[fake_journal.FakeJournal] = fake_journal.FakeJournal


@dataclasses.dataclass
class Host:
    """An installation: its journal and its version of the documents."""

    name: str
    storage: journal_storage.Storage
    folder: documents.SourceFolder
    keys: int = 0


@dataclasses.dataclass
class Surroundings:
    """What all processes share: the account, the time, and the audit."""

    settings: draw.Settings
    parts: Parts
    account: audit.RecordedState
    sandbox: app.Sandbox
    wall: clocks.Wall
    clock: trio.testing.MockClock
    seen: audit.Audit
    outside: trio.Nursery
    chance: random.Random
    expectations: Callable[[audit.Run], list[expected_state.Expected]]
    recent_expectations: Callable[[Host], list[expected_state.Expected]]
    always_wanted: Callable[[audit.Run], set[expected_state.Pair]]
    most_requests: int
    runs: dict[str, audit.Run] = dataclasses.field(default_factory=dict)
    processes: int = 0
