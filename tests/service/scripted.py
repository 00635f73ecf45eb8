"""An account whose runs end as a test scripts them, and a service that runs it on virtual time."""

import dataclasses
import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from tests.support import clocks, doubles
from worker.core.model.actual import Actual
from worker.core.model.desired import Desired
from worker.core.model.errors import JournalError, SettingsError, Stopped, Unreachable
from worker.core.model.identifiers import DriverId, FleetId, RunId
from worker.core.model.outcomes import ChangeResult, Refused
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, Change
from worker.core.model.ports import PastRefusals, Source
from worker.core.model.report import Report, Traffic
from worker.engine import plan_builder
from worker.service import composition, scheduler, shutdown, state
from worker.settings import model

RUN = RunId("run_1")
CHANGE = Change(Action.ATTACH, DriverId("drv_A"), FleetId("flt_V"), row="first")

End = Callable[["Account"], Report]


@dataclasses.dataclass
class Account:
    """An account whose runs take a second and end as scripted; the last entry repeats."""

    script: Sequence[End]
    boundary: datetime.datetime | None = None
    open_fails: list[JournalError] = dataclasses.field(default_factory=list)
    sources: list[Source] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.process_shutdown = shutdown.Shutdown()
        self.settings = model.Settings.model_validate(
            {"sources": [{"path": "membership.yaml"}], "sync": {"interval_seconds": 300.0, "interval_jitter": 0.0}}
        )
        self.clock = clocks.Wall()
        self.record = self
        self.runs: list[tuple[float, str]] = []
        self.began = anyio.current_time()
        self.asked = 0
        self.closed = 0
        self.disconnected: list[float] = []
        self.approved: set[str] = set()
        self.in_force: tuple[Pause, ...] = ()
        self.refusal: PastRefusals | None = None
        self.adopting = [True]

    async def open(self) -> None:
        if self.open_fails:
            raise self.open_fails.pop()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed += 1

    async def close_idle_connections(self) -> None:
        self.disconnected.append(anyio.current_time() - self.began)
        await anyio.lowlevel.checkpoint()

    def adopt_journal(self, *, allowed: bool) -> None:
        self.adopting.append(allowed)

    async def pauses(self, *, now: datetime.datetime) -> tuple[Pause, ...]:
        return self.in_force

    async def approvals(self, *, now: datetime.datetime) -> frozenset[str]:
        self.asked += 1
        return frozenset(self.approved)

    async def journal_bytes(self) -> int:
        return 4096

    async def refusals(self, drivers: Collection[DriverId]) -> Mapping[tuple[Action, DriverId, FleetId], PastRefusals]:
        return {(CHANGE.action, CHANGE.driver, CHANGE.fleet): self.refusal} if self.refusal else {}

    def new_reconciler(self, *, run: RunId, show: Callable[[Any], None]) -> "Account":
        self._show = show
        return self

    async def reconcile(self, *, trigger: str) -> Report:
        self.runs.append((round(anyio.current_time() - self.began), trigger))
        await anyio.sleep(1)
        finished = self.script[min(len(self.runs), len(self.script)) - 1](self)
        if finished.guarded is not None:
            plan_result = plan_builder.PlanResult(
                Desired((), (), ()),
                Actual({}, {}),
                finished.guarded,
                pauses=self.in_force,
                next_boundary=self.boundary,
            )
            self._show(plan_result)
        return finished


def in_sync(account: Account) -> Report:
    now = account.clock.now()
    return Report(RUN, now, now, doubles.guarded([]))


def failed(account: Account) -> Report:
    now = account.clock.now()
    return Report(RUN, now, now, None, error=Unreachable("no answer"))


def cut_off(account: Account) -> Report:
    """End without the journal, so that Charge was asked nothing."""
    now = account.clock.now()
    return Report(RUN, now, now, None, error=JournalError("connection timed out"))


def unrecorded(account: Account) -> Report:
    """End without the journal, after Charge was read."""
    return dataclasses.replace(cut_off(account), traffic=Traffic(reads=7))


def refused(account: Account) -> Report:
    now = account.clock.now()
    count = account.refusal.count + 1 if account.refusal else 1
    account.refusal = PastRefusals(CHANGE.row, count, now, "policy_blocked", "not allowed", "req_1")
    result = ChangeResult(CHANGE, Refused(1, "policy_blocked", "not allowed", "req_1"))
    return Report(RUN, now, now, doubles.guarded([CHANGE]), results=(result,))


def crashed(account: Account) -> Report:
    account.clock.no_such_thing()  # type: ignore[attr-defined]
    return in_sync(account)


async def served(
    account: Account,
    seconds: float,
    *,
    meanwhile: Callable[[scheduler.Service], None] = lambda service: None,
    ended: list[Report] | None = None,
    retry_spread: float = 0.0,
    reload_fails: Sequence[SettingsError] = (),
) -> list[tuple[float, str]]:
    """Run the service for so long, call `meanwhile` after 100 s, and return the start and trigger of each run."""
    shown = state.ServiceState(clock=account.clock)
    failures = iter(reload_fails)

    async def reload() -> composition.AccountRuntime:
        if (error := next(failures, None)) is not None:
            raise error
        return cast(composition.AccountRuntime, account)

    service = scheduler.Service(
        cast(composition.AccountRuntime, account),
        reload=reload,
        service_state=shown,
        clock=account.clock,
        on_run_end=lambda finished, trigger: None if ended is None else ended.append(finished),
        retry_spread=retry_spread,
    )
    account.began = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            await anyio.sleep(100)
            meanwhile(service)
            await anyio.sleep(seconds - 100)
            account.process_shutdown.request_stop(Stopped("SIGTERM", exit_code=143))

        tasks.start_soon(stop)
        assert await service.run() == 143
    assert anyio.current_time() - account.began == pytest.approx(seconds, abs=1.5)
    return account.runs
