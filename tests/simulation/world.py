"""Plays a world: lives in bad weather one after the other, then calm, in which everything must come to rest.

Invariant: a seed decides everything, also the order in which tasks run, so that a world can be played again.
Neighbours: `draw` draws it, `living` is one process in it, `oracles` and `endings` judge it.
"""

import collections
import contextlib
import dataclasses
import datetime
import logging
import math
import traceback
from collections.abc import Iterator

import structlog
import trio
import trio.testing

from tests.simulation import audit, documents, draw, expected_state, fake_journal, final_checks, living, wire
from tests.support import clocks
from worker.core.model.report import Report
from worker.sandbox import app

PARTS = living.Parts()

_QUIET = draw.Life(
    moments=(),
    runs=1,
    interval=1.0,
    pause=60.0,
    edits=False,
    spoilt=False,
    meddling=0.0,
    slowness=0.002,
    weather={},
    storms={},
)
_LATE_EFFECTS = 121.0
_TWO_HOURS = datetime.timedelta(hours=2)


@dataclasses.dataclass(frozen=True)
class Played:
    """A world that was played: what was broken in it, what happened how often, and its trace where it was asked for."""

    seed: int
    violations: list[str]
    counts: collections.Counter[str]
    lines: list[str]
    fingerprint: str


def play(seed: int, *, parts: living.Parts = PARTS, aloud: bool = False) -> Played:
    """Play the world of a seed."""
    seen = audit.Audit(aloud=aloud)
    with _seeded(seed):
        try:
            trio.run(_World(seed, seen, parts).play, clock=trio.testing.MockClock(autojump_threshold=0))
        except Exception as error:  # noqa: BLE001 - whatever the product raises is a finding, and belongs to its seed
            seen.violations.append(f"crash: {error!r}")
            seen.lines += traceback.format_exception(error)
    what = [(effect.action, effect.pair, effect.key, effect.time) for effect in seen.effects]
    fingerprint = f"{audit.hash_of(seen.fingerprint, what, sorted(seen.counts.items()), seen.violations):08x}"
    return Played(seed, seen.violations, seen.counts, seen.lines, fingerprint)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Make trio's scheduler follow the seed, as hypothesis-trio does; and keep the logs silent."""
    core, before, logs = trio._core._run, trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING, structlog.get_config()
    core._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    core._r.seed(seed)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        core._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
        structlog.configure(**logs)


class _World:
    """One world."""

    def __init__(self, seed: int, seen: audit.Audit, parts: living.Parts) -> None:
        self._seen = seen
        self._parts = parts
        self._roster = audit.RecordedState(seed=seed)
        self._roster.audit = seen
        self._spec = draw.spec(seed, self._roster)
        self._seed = seed

    async def play(self) -> None:
        """Play it."""
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        async with trio.open_nursery() as outside:
            self._around = self._surroundings(clock, outside)
            self._seen.directory(self._roster)
            for plan in self._spec.lives:
                life = await self._live(plan)
                if self._spec.approving and life.reports and (guarded := life.reports[-1].guarded) and guarded.held:
                    self._around.disk.approve(guarded, self._around.wall.now() + datetime.timedelta(hours=24))
            await self._rest()
            outside.cancel_scope.cancel()
        final_checks.recorded(self._seen, self._around.disk)

    def _surroundings(self, clock: trio.testing.MockClock, outside: trio.Nursery) -> living.Surroundings:
        wall = clocks.Wall()
        return living.Surroundings(
            settings=self._spec.settings,
            parts=self._parts,
            roster=self._roster,
            sandbox=app.create(self._roster, quirks=self._spec.quirks, clock=wall.seconds, record=False),
            disk=fake_journal.Storage(),
            shelf=documents.Shelf(self._roster, self._spec.boundaries, draw.generator(self._seed, "shelf")),
            wall=wall,
            clock=clock,
            seen=self._seen,
            outside=outside,
            chance=draw.generator(self._seed, "chance"),
            truths=self._truths,
            most_requests=self._bound(),
        )

    def _bound(self) -> int:
        """Give how many requests a run may make at most: a few times what the worst reading and all writes need."""
        settings, drivers, fleets = self._spec.settings, len(self._roster.drivers), len(self._roster.fleets)
        pages = math.ceil(drivers / settings.page_size) + 1
        reading = (math.ceil(fleets / settings.page_size) + fleets) + pages * (2 + 2 * fleets) + drivers * 3
        return 300 + 3 * settings.policy.max_attempts * (reading + 2 * drivers * fleets)

    async def _live(self, plan: draw.Life) -> living.Life:
        """Let one process live, and then nobody for a while."""
        around = self._around
        around.sandbox.faults = wire.Faults(
            plan.weather, plan.storms, seed=around.chance.randrange(1 << 32), seen=self._seen
        )
        if plan.spoilt:
            around.shelf.spoil()
        life = living.Life(around, plan)
        await life.live()
        self._seen.counts["lives"] += 1
        await trio.sleep(plan.pause)
        around.shelf.mend()
        if plan.edits:
            around.shelf.edit()
        return life

    async def _rest(self) -> None:
        """Let nothing happen any more, and see that everything comes to rest."""
        around = self._around
        around.sandbox.quirks = draw.calm(self._spec.quirks)
        self._seen.note("world", "is quiet")
        now = around.wall.now()
        late = [moment for moment in self._spec.boundaries if now <= moment <= now + _TWO_HOURS]
        if late:
            await trio.sleep((max(late) - now).total_seconds() + 1)
        first = await self._quiet_run()
        if self._spec.approving and first and first.guarded and first.guarded.held:
            around.disk.approve(first.guarded, around.wall.now() + datetime.timedelta(hours=24))
            first = await self._quiet_run()
        await trio.sleep(_LATE_EFFECTS)  # until then an unclear write stays open, and its change waits
        first = await self._quiet_run()
        second = await self._quiet_run()
        if first is None or second is None:
            self._seen.violated("convergence", "a quiet run did not end")
            return
        wishes = expected_state.expected(
            around.shelf.readings(), self._seen.directories[-1][1], around.wall.now(), self._spec.settings.mode
        )
        allowed = {"too_many_unresolved"} if wishes.references >= 20 else set[str]()
        allowed |= {"sources_contradict"} if wishes.contradictory else set()
        final_checks.at_rest(self._seen, self._roster, wishes, second, allowed=allowed)
        if first.error is None and second.error is None:
            final_checks.idle(self._seen, first, second)
        final_checks.moved(self._seen, around.disk, around.runs)

    async def _quiet_run(self) -> Report | None:
        life = await self._live(_QUIET)
        return life.reports[-1] if life.reports else None

    def _truths(self, run: audit.Run) -> list[expected_state.Expected]:
        """Give what a run's sources may have meant, for every moment of it at which that changed."""
        around = self._around
        since = around.wall.now() - datetime.timedelta(seconds=trio.current_time() - run.started)
        moments = {since, around.wall.now(), *(at for at in self._spec.boundaries if since <= at <= around.wall.now())}
        return [
            expected_state.expected(run.readings, known, moment, self._spec.settings.mode)
            for known in self._seen.directories_since(run.began)
            for moment in sorted(moments)
        ]
