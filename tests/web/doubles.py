"""A fake service, and snapshots in every condition.

Neighbours: `tests/web` calls the app in process, `tests/browser` opens it in a real browser.
"""

import dataclasses
import datetime
import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from tests.support import clocks, memory_journal
from worker.core.model.desired import Origin, SourceRevision
from worker.core.model.errors import FleetSyncError, SourceError, Unreachable
from worker.core.model.identifiers import Account, DriverId, FleetId, IntentKey, RunId
from worker.core.model.outcomes import Applied, ChangeResult, Deferred, Outcome, Refused, Unknown
from worker.core.model.pauses import Pause
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change, Cost, GuardedPlan, HeldChange
from worker.core.model.ports import Intent, PastChange, PastRun, Stage
from worker.core.model.problem import Problem
from worker.core.model.report import Report, Traffic
from worker.core.monitoring import status
from worker.core.safety import guard

NOW = clocks.NOON
TOKEN = "correct-horse-battery-staple"
ACCOUNT = Account("https://api.chargeapi.co/v1", "live")

RNG = random.Random(7)
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789"
FLEET_NAMES = ("Paris vans", "Lyon depot", "Night shift", "Airport shuttles", "Bordeaux north", "Pool cars")
PEOPLE = (
    "Ada Marchand",
    "Bruno Keller",
    "Chloé Dubois",
    "Dmitri Sokolov",
    "Esra Öztürk",
    "Farid Haddad",
    "Grace Okafor",
)


def _id(kind: str, number: int) -> str:
    return f"{kind}_{''.join(random.Random(f'{kind}{number}').choices(_LETTERS, k=32))}"


def driver(number: int) -> DriverId:
    return DriverId(_id("drv", number))


def fleet(number: int) -> FleetId:
    return FleetId(_id("flt", number))


NAMES: Mapping[DriverId, str] = {driver(number): name for number, name in enumerate(PEOPLE)}


def change(action: str, who: int, where: int) -> Change:
    origin = Origin("membership.yaml", 4 + who, 9) if action == "attach" else None
    return Change(Action(action), driver(who), fleet(where), origin)


def held(action: str, who: int, where: int, *, by: str = guard.PER_FLEET, message: str = "") -> HeldChange:
    said = message or f"4 of 12 memberships of this fleet (33.3%) would be detached, more than {guard.PER_FLEET} = 0.25"
    return HeldChange(change(action, who, where), by, said)


def guarded(
    *,
    changes: Sequence[Change] = (),
    held: Sequence[HeldChange] = (),
    problems: Sequence[Problem] = (),
    unsettled: bool = False,
    digest: str = "sha256:" + "ab12" * 16,
) -> GuardedPlan:
    return GuardedPlan(
        account=ACCOUNT,
        created=NOW,
        sources=(SourceRevision("file", "membership.yaml", "sha256:" + "0f" * 32),),
        changes=tuple(sorted(changes, key=lambda each: each.order)),
        held=tuple(sorted(held, key=lambda each: each.change.order)),
        problems=tuple(problems),
        in_sync=3480,
        fleets=6,
        drivers=3400,
        cost=Cost(12, 0.5),
        digest=digest,
        unsettled=unsettled,
    )


def run(
    number: int = 1,
    *,
    plan: GuardedPlan | None = None,
    results: Sequence[ChangeResult] = (),
    seconds_ago: float = 40,
    took: float = 2.4,
    problems: Sequence[Problem] = (),
    error: FleetSyncError | None = None,
) -> Report:
    finished = NOW - datetime.timedelta(seconds=seconds_ago)
    return Report(
        run=RunId(f"run_{number:04d}"),
        started=finished - datetime.timedelta(seconds=took),
        finished=finished,
        guarded=plan if plan or error else guarded(),
        results=tuple(results),
        problems=tuple(problems),
        traffic=Traffic(reads=36, writes=len(results)),
        error=error,
    )


MEMBERS = (412, 96, 1256, 12, 1640, 64)
FLEETS = tuple(status.Fleet(fleet(n), FLEET_NAMES[n], in_sync=MEMBERS[n]) for n in range(6))


READING = status.Reading(
    people={driver(n): Person(name, f"{name.split()[0].lower()}@acme.example") for n, name in enumerate(PEOPLE)}
    | {driver(200 + n): Person(f"Colleague {n:02}", f"colleague{n}@acme.example") for n in range(40)},
    memberships={driver(n): frozenset({fleet(3 if n < 4 else n % 6)}) for n in range(len(PEOPLE))}
    | {driver(200 + n): frozenset({fleet(0)}) for n in range(40)},
)


def calm(**changed: Any) -> status.Status:
    """Return the snapshot of a service in sync, with fields replaced."""
    present = status.Status(
        now=NOW,
        started=NOW - datetime.timedelta(days=3, hours=2),
        version="0.2.0",
        account=ACCOUNT,
        rate=18.4,
        ceiling=25.0,
        last=run(),
        last_success=NOW - datetime.timedelta(seconds=40),
        next_run=NOW + datetime.timedelta(seconds=260),
        fleets=FLEETS,
        sources=(
            status.Source(
                SourceRevision("file", "membership.yaml", "sha256:" + "0f" * 32),
                NOW - datetime.timedelta(hours=7),
            ),
        ),
        driver_names=NAMES,
        reading=READING,
        journal_bytes=4_812_000,
    )
    return dataclasses.replace(present, **changed)


def fleets(**by_number: Mapping[str, Any]) -> tuple[status.Fleet, ...]:
    """Return the fleets, with fields of some replaced: `f0={"held": 4}`."""
    return tuple(dataclasses.replace(each, **by_number.get(f"f{n}", {})) for n, each in enumerate(FLEETS))


def starting() -> status.Status:
    return calm(
        last=None,
        last_success=None,
        next_run=None,
        fleets=(),
        driver_names={},
        started=NOW - datetime.timedelta(seconds=8),
        running=status.Running(RunId("run_0001"), "start", NOW, Stage.READING_FLEETS, 3),
    )


def working(done: int = 1204) -> status.Status:
    running = status.Running(
        RunId("run_0042"), "source", NOW - datetime.timedelta(seconds=48), Stage.CHANGING_MEMBERSHIPS, done, 3000
    )
    return calm(
        running=running, next_run=None, fleets=fleets(f2={"in_sync": 900, "drifted": 1400}, f4={"drifted": 400})
    )


def drifting() -> status.Status:
    deferred = Deferred(2, "rate_limit_exceeded", "Charge rate limited the request; not sent")
    made = [change("attach", 1, 0), change("attach", 2, 0)]
    last = run(plan=guarded(changes=made), results=[ChangeResult(each, deferred) for each in made])
    return calm(last=last, fleets=fleets(f0={"drifted": 2}))


def refusing() -> status.Status:
    made = [change("attach", 1, 0), change("attach", 2, 0), change("detach", 3, 1)]
    results = [
        ChangeResult(made[0], Refused(1, "driver_blocked", "This driver is suspended.", "req_8sJw02kLmQ")),
        ChangeResult(made[1], Unknown(6, "charge_unreachable", "connection reset", "req_9fJq11")),
        ChangeResult(made[2], Applied(1, "req_7aa")),
    ]
    unknown = "no driver has the e-mail address alice@example.com"
    unknown += f"; no driver is detached from fleet {fleet(5)} until this is fixed"
    problems = [Problem("membership.yaml:14:9", unknown)]
    last = run(plan=guarded(changes=made, problems=problems, unsettled=True), results=results)
    return calm(last=last, fleets=fleets(f0={"refused": 1, "drifted": 1}))


WAITING = (
    *(held("detach", number, 3) for number in range(4)),
    held("attach", 5, 1, by="flapping", message="applied 4 times within 24 h and reverted each time by someone else"),
)
DIGEST = guarded(held=WAITING).held_digest


def holding() -> status.Status:
    duplicate = Problem("membership.yaml:31:9", "duplicates membership.yaml:12:9", note=True)
    last = run(plan=guarded(held=WAITING, problems=[duplicate]))
    return calm(last=last, fleets=fleets(f3={"in_sync": 8, "held": 4}, f1={"frozen": 1}))


def broken() -> status.Status:
    error = SourceError([Problem("membership.yaml:7:3", "the key 'Lyon depot' appears twice")])
    since = NOW.replace(hour=10, minute=5)
    last = run(error=error, seconds_ago=35)
    return calm(last=last, broken=(status.Broken(status.Part.SOURCE, since, error),))


def paused() -> status.Status:
    pauses = (
        Pause(NOW - datetime.timedelta(hours=1), NOW + datetime.timedelta(hours=3), "Emma Bakker", "new HR system"),
        Pause(NOW - datetime.timedelta(days=2), None, "Liam", "", fleet(3)),
    )
    return calm(pauses=pauses, fleets=fleets(f0={"drifted": 2}))


CITIES = ("Grenoble", "Marseille", "Montpellier", "Strasbourg", "Clermont-Ferrand", "Villeurbanne")


def large() -> status.Status:
    """Return the snapshot of an account with 500 fleets, some of which are not in sync."""
    states = {4: {"drifted": 5}, 90: {"held": 3}, 91: {"frozen": 1, "held": 12}, 250: {"refused": 2}}
    found = tuple(
        status.Fleet(fleet(n), f"{CITIES[n % 6]} taxis {n // 6}", in_sync=n % 900, **states.get(n, {}))  # type: ignore[arg-type]
        for n in range(500)
    )
    return calm(fleets=found)


def small() -> status.Status:
    """Return the snapshot of an account with two fleets."""
    return calm(fleets=(status.Fleet(fleet(0), "Grenoble taxis", in_sync=412), FLEETS[1]))


MOODS = {
    "large": large,
    "small": small,
    "paused": paused,
    "in_sync": calm,
    "starting": starting,
    "working": working,
    "drifting": drifting,
    "refused": refusing,
    "held": holding,
    "broken": broken,
}


class Record(memory_journal.MemoryJournal):
    """A journal in memory that fails on demand and counts what it returns."""

    def __init__(self) -> None:
        super().__init__(clock=clocks.Still())
        self.fails: FleetSyncError | None = None
        self.given: list[int] = []
        """How many runs or changes each query returned."""

    async def runs(
        self, *, limit: int | None = None, before: RunId | None = None, result: str | None = None
    ) -> tuple[PastRun, ...]:
        self._check()
        found = await super().runs(limit=limit, before=before, result=result)
        self.given.append(len(found))
        return found

    async def run(self, run: RunId) -> PastRun | None:
        self._check()
        return await super().run(run)

    async def documents(self, run: RunId) -> Any:
        self._check()
        return await super().documents(run)

    async def changes(
        self,
        *,
        run: RunId | None = None,
        driver: DriverId | None = None,
        fleet: FleetId | None = None,
        limit: int | None = None,
    ) -> tuple[PastChange, ...]:
        self._check()
        found = await super().changes(run=run, driver=driver, fleet=fleet, limit=limit)
        self.given.append(len(found))
        return found

    def _check(self) -> None:
        if self.fails:
            raise self.fails


class Service:
    """Implements ServiceProtocol: shows the snapshot it is given and records calls."""

    def __init__(self, present: status.Status | None = None) -> None:
        self.present = present or calm()
        self.record = Record()
        self.unready = ""
        self.synced = 0
        self.approved: list[str] = []
        self.by: list[str] = []
        """The names of the people who acted."""
        self.fails: FleetSyncError | None = None
        self._changed = anyio.Event()

    def snapshot(self) -> status.Status:
        return self.present

    def show(self, present: status.Status) -> None:
        """Replace the snapshot and announce the change. Call it inside the event loop."""
        self.present = present
        self._changed.set()
        self._changed = anyio.Event()

    async def changed(self) -> None:
        await self._changed.wait()

    def unready_reason(self) -> str:
        return self.unready

    def sync(self) -> None:
        self.synced += 1

    async def approve(self, digest: str, *, by: str) -> None:
        if self.fails:
            raise self.fails
        self.approved.append(digest)
        self.by.append(by)

    async def pause(self, pause: Pause) -> None:
        await self.record.pause(pause)
        self.by.append(pause.by)

    async def resume(self, *, by: str, fleet: FleetId | None) -> tuple[Pause, ...]:
        self.by.append(by)
        return await self.record.resume(now=self.present.now, by=by, fleet=fleet)


async def remember(service: Service, finished: Report, *, trigger: str = "interval", keys: str = "key") -> None:
    """Record a run in the service's journal as the engine does."""
    journal = service.record
    await journal.open()
    if finished.guarded and finished.guarded.changes:
        intents = [
            Intent(IntentKey(f"{keys}-{finished.run}-{n}"), result.change) for n, result in enumerate(finished.results)
        ]
        await journal.begin(finished.run, trigger=trigger, guarded=finished.guarded, intents=intents)
        await journal.record([(i.key, r.outcome) for i, r in zip(intents, finished.results, strict=True)])
    await journal.finish(finished, trigger=trigger)


async def past(service: Service, count: int = 36) -> None:
    """Fill the journal with plausible runs of the last days, ending with the service's last run."""
    rng = random.Random(3)
    numbers = itertools.count(100)
    for back in range(count, 0, -1):
        number = next(numbers)
        seconds = back**2 * 900.0
        if back in (9, 10):
            failure = Unreachable("no answer within 30 s")
            await remember(service, run(number, seconds_ago=seconds, error=failure, took=31))
            continue
        size = rng.choice((0, 0, 0, 0, 1, 2, 3, 8, 20, 60))
        made = [change(rng.choice(("attach", "detach")), 20 + n, n % 6) for n in range(size)]
        came: list[Outcome] = [Applied(1, f"req_{number}{n:03d}") for n in range(size)]
        if size == 8:
            came[0] = Refused(1, "driver_blocked", "This driver is suspended.", "req_x1")
        results = [ChangeResult(each, outcome) for each, outcome in zip(made, came, strict=True)]
        waiting = [held("detach", 60 + back, 3)] if back == 20 else []
        plan = guarded(changes=made, held=waiting)
        await remember(service, run(number, seconds_ago=seconds, plan=plan, results=results, took=1 + size / 10))
    if service.present.last:
        await remember(service, service.present.last)
