"""Sees everything that happens in a world, and keeps it in the order in which it happened.

Invariant: nothing here asks the product; what is noted was seen at the server, on the wire, at the disk or at the
sources. Neighbours: `wire`, `disk` and `world` note, `oracles` judge it; with `aloud` it is also written down.
"""

import collections
import dataclasses
import json
import zlib
from typing import Any

import httpx
import trio

from tests.simulation import expected_state
from worker.core.model.desired import SourceReading
from worker.sandbox import state

DECEPTIONS = frozenset({"cut_short", "shift", "repeat"})
"""Faults by which a listing of everything can hide somebody, and nobody can tell."""


@dataclasses.dataclass
class Chain:
    """One listing from its first page: which drivers it showed with which fleets, and whether it came to its end."""

    fleet: str | None
    shown: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    ended: bool = False


@dataclasses.dataclass
class Run:
    """What one run was told and what it did. `began` is its place in the order of all that happened.

    `misled`: a listing hid something; `deceived`: one did in which nobody can notice. `lost` is when it stopped being
    the one writer, `resumed` when it went on after standing still, `over` when it had to end and `why_over` why.
    """

    name: str
    life: int
    began: int
    started: float
    readings: list[SourceReading] = dataclasses.field(default_factory=list)
    source_failed: bool = False
    shown: dict[str, set[str]] = dataclasses.field(default_factory=lambda: collections.defaultdict(set))
    totals: dict[str, set[int]] = dataclasses.field(default_factory=lambda: collections.defaultdict(set))
    chains: list[Chain] = dataclasses.field(default_factory=list)
    deceived: bool = False
    misled: bool = False
    planned: bool = False
    over: float | None = None
    why_over: str = ""
    resumed: float | None = None
    lost: float | None = None
    requests: int = 0
    truths: list[expected_state.Expected] = dataclasses.field(default_factory=list)
    writes: list[tuple[str, expected_state.Pair, str]] = dataclasses.field(default_factory=list)

    def end(self, why: str) -> None:
        """Note that from this moment on nothing may be sent."""
        if self.over is None:
            self.over, self.why_over = trio.current_time(), why


@dataclasses.dataclass(frozen=True)
class Effect:
    """A write that the server carried out, and the fleets that it left the driver in."""

    order: int
    time: float
    action: str
    pair: expected_state.Pair
    key: str | None
    changed: bool
    left: frozenset[str]


class Audit:
    """Everything that was seen. `levels` is how much of the burst each life has used up, and when."""

    def __init__(self, *, aloud: bool) -> None:
        """Start with nothing seen."""
        self.aloud = aloud
        self.lines: list[str] = []
        self.violations: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.effects: list[Effect] = []
        self.levels: dict[int, tuple[float, float]] = {}
        self.keys: dict[str, tuple[str, expected_state.Pair]] = {}
        self.toggles: dict[expected_state.Pair, list[int]] = collections.defaultdict(list)
        self.foreign: dict[expected_state.Pair, list[int]] = collections.defaultdict(list)
        self.directories: list[tuple[int, expected_state.Directory]] = []
        self.fingerprint = 0
        self._order = 0

    def next(self) -> int:
        """Give the next place in the order of all that happens."""
        self._order += 1
        return self._order

    @property
    def order(self) -> int:
        """Give the place of what happened last."""
        return self._order

    def note(self, who: str, what: str) -> None:
        """Write down what happens."""
        if self.aloud:
            self.lines.append(f"{trio.current_time():>12.3f}  {who:<10} {what}")

    def violated(self, rule: str, what: str) -> None:
        """Note that a rule was broken."""
        self.violations.append(f"{rule}: {what}")
        self.note("VIOLATION", f"{rule}: {what}")

    def directory(self, held: state.SandboxState) -> None:
        """Note to whom references lead from now on."""
        known = expected_state.Directory(
            {driver.id: driver.email for driver in held.drivers.values()},
            {driver.id: dict(driver.metadata) for driver in held.drivers.values()},
            {fleet.id: fleet.name for fleet in held.fleets.values()},
        )
        self.directories.append((self.next(), known))

    def directories_since(self, order: int) -> list[expected_state.Directory]:
        """Give what references led to from then on, at one time or another."""
        places = [place for place, _ in self.directories]
        first = max((index for index, place in enumerate(places) if place <= order), default=0)
        return [known for _, known in self.directories[first:]]

    def stirred(self, fleet: str, since: int) -> bool:
        """Tell whether anybody came to a fleet or left it since then: its pages may have shifted."""
        return any(where == fleet and self.toggled((driver, where), since) for driver, where in self.toggles)

    def toggled(self, pair: expected_state.Pair, since: int) -> bool:
        """Tell whether a membership came or went since then."""
        return max(self.toggles.get(pair, ()), default=0) > since

    def meddled(self, pair: expected_state.Pair, since: int) -> bool:
        """Tell whether another writer changed a membership since then."""
        return max(self.foreign.get(pair, ()), default=0) > since

    def delivered(self, run: Run, request: httpx.Request, response: httpx.Response, fault: str | None) -> None:
        """Note what an answer told the client."""
        self.fingerprint = hash_of(self.fingerprint, request.method, str(request.url), response.status_code)
        if response.status_code == 401:
            run.end("a 401")
        if request.method != "GET" or response.status_code != 200 or fault == "wrong_types":
            return
        try:
            document: Any = json.loads(response.content)
        except ValueError:
            return
        path = request.url.path.removeprefix("/v1/").split("/")
        if len(path) == 2:
            self._see(run, document)
        else:
            self._page(run, path[0], request, document, deceptive=fault in DECEPTIONS)

    def _page(self, run: Run, kind: str, request: httpx.Request, document: Any, *, deceptive: bool) -> None:
        fleet = request.url.params.get("fleet")
        run.deceived |= deceptive and fleet is None
        run.misled |= deceptive
        for item in document["data"] or ():
            self._see(run, item)
        if kind != "drivers":
            return
        if "page" not in request.url.params or not any(chain.fleet == fleet for chain in run.chains):
            run.chains.append(Chain(fleet))
        chain = next(chain for chain in reversed(run.chains) if chain.fleet == fleet)
        chain.shown |= {item["id"]: frozenset(item["fleets"] or ()) for item in document["data"] or ()}
        chain.ended = document["next_page_url"] is None

    def _see(self, run: Run, item: Any) -> None:
        if item["object"] == "driver":
            run.shown[item["id"]] |= set(item["fleets"] or ())
        else:
            run.totals[item["id"]].add(item["total_drivers"])


class RecordedState(state.SandboxState):
    """The account's state, which notes what is done to it and by whom."""

    audit: Audit

    def apply(self, action: state.Action, driver: str, fleet: str, *, key: str | None, at: str) -> None:
        """Carry out a write of the API."""
        super().apply(action, driver, fleet, key=key, at=at)
        changed = self.effects[-1].changed
        order, pair = self.audit.next(), (driver, fleet)
        self.audit.effects.append(
            Effect(order, trio.current_time(), action, pair, key, changed, frozenset(self.fleets_of(driver)))
        )
        if changed:
            self.audit.toggles[pair].append(order)
        self.audit.note("server", f"{action} {short(driver)} {short(fleet)} {'' if changed else '(no change)'}")

    def meddle(self, pair: expected_state.Pair) -> None:
        """Let another writer turn a membership round."""
        driver, fleet = pair
        action, act = ("detach", self.detach) if fleet in self.fleets_of(driver) else ("attach", self.attach)
        act(driver, fleet)
        order = self.audit.next()
        self.audit.toggles[pair].append(order)
        self.audit.foreign[pair].append(order)
        self.audit.note("another", f"{action} {short(driver)} {short(fleet)}")

    def vanish(self, driver: str) -> None:
        """Let somebody delete a driver."""
        for fleet in self.fleets_of(driver):
            self.meddle((driver, fleet))
        self.remove_driver(driver)
        self.audit.directory(self)


def members(held: state.SandboxState, fleet: str) -> frozenset[str]:
    """Give who is in a fleet, if there is one."""
    return held.members(fleet) if fleet in held.fleets else frozenset()


def short(id: str) -> str:
    """Shorten an id so that a trace can be read."""
    return id[:8]


def hash_of(*parts: object) -> int:
    """Mix values into a number that is the same in every process."""
    return zlib.crc32(repr(parts).encode())
