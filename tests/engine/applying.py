"""Changes applied in a run of their own, and faults that strike writes alone."""

from collections.abc import Callable, Iterable
from typing import Any

import httpx

from tests.support import doubles, harness
from tests.support import sandbox as support
from tests.support.harness import DEPOT, NORTH, VANS, A, B, C, D
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.outcomes import Outcome
from worker.core.model.plan import Action, Change
from worker.engine import applier, pause_watch, reader, source_watch, verification
from worker.sandbox import faults, http_types, state

RUN = RunId("run_1")


def attach(driver: DriverId, fleet: FleetId) -> Change:
    return Change(Action.ATTACH, driver, fleet)


def detach(driver: DriverId, fleet: FleetId) -> Change:
    return Change(Action.DETACH, driver, fleet)


def account() -> state.SandboxState:
    return harness.state_of({VANS: [A, B], DEPOT: [C], NORTH: []}, others=[D])


async def apply(account_harness: harness.Harness, changes: Iterable[Change]) -> list[Outcome]:
    """Apply in a new run, as a reconciler does; return the outcomes in the order of the changes."""
    changes = list(changes)
    context = account_harness.context()
    plan = doubles.guarded(changes, seen=account_harness.fleets_of)
    run_applier = applier.Applier(context)
    work = run_applier.prepare(changes, open_intents=(), concerned=plan.concerned)
    await context.journal.begin(context.run, trigger="test", guarded=plan, intents=work.intents)
    check = verification.Verification(context, reader.Reader(context), desired=None, listing_requests=0)
    sources, pauses = source_watch.SourceWatch((), clock=context.clock), pause_watch.PauseWatch(context)
    applied = await run_applier.apply(work, sources=sources, check=check, pauses=pauses)
    results = {result.change: result.outcome for result in applied.results if not result.repair}
    assert results.keys() == set(changes)
    recorded = {intent.change: account_harness.memory.outcomes.get(intent.key) for intent in work.intents}
    assert account_harness.journal is not account_harness.memory or recorded == results
    return [results[change] for change in changes]


def names(found: Iterable[Outcome]) -> list[str]:
    return [outcome.name for outcome in found]


def writes(name: str) -> faults.Faults:
    """Let this happen to every write, and to nothing else."""
    return faults.Faults(script=lambda request: name if request.route in http_types.WRITES else None)


def lying(
    account_harness: Callable[[], harness.Harness], *, forward: bool, fleets: list[str]
) -> httpx.AsyncBaseTransport:
    """Make a connection on which every write is answered 200 with these fleets, whether or not it was made."""

    def lie(request: httpx.Request, shown: Any) -> object | None:
        return {**shown, "fleets": fleets} if request.method == "POST" else None

    class Swallowing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST" and not forward:
                return httpx.Response(200, json={"id": request.url.path.split("/")[3], "fleets": fleets})
            return await support.transport(account_harness().sandbox).handle_async_request(request)

    return doubles.ResponseTamper(Swallowing(), lie)
