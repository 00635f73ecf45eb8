"""Observes everything that happens in a world, in the order in which it happens.

Invariant: nothing here asks the product. Observations come from the server, the network, the disk and the sources.
Neighbours: `network`, `fake_journal` and `world` record observations; `oracles`, `state_oracle` and `final_checks`
judge them. With `verbose` they are also written to a trace.
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

DECEPTIONS = frozenset({"cut_short", "malformed", "shift", "repeat"})
"""Faults by which a listing of the whole account can hide a driver without any sign."""

OTHERS = "others"
"""The author of changes that no fleet-sync process made."""


@dataclasses.dataclass
class Listing:
    """One listing: the drivers that it showed, with their fleets, and whether it reached its end.

    The objects of those in `malformed` cannot be read.
    """

    fleet: str | None
    shown: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    malformed: set[str] = dataclasses.field(default_factory=set)
    ended: bool = False


@dataclasses.dataclass(frozen=True)
class Sent:
    """When a request was sent: its position in the order of events, and the time."""

    order: int
    time: float


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What an answer told a run about the fleets of a driver.

    `order` is the position of the state that it shows, `sent` that of its request, `received` that of its arrival.
    `sent_at` is the time of the request.
    """

    order: int
    sent: int
    sent_at: float
    received: int
    fleets: frozenset[str]


@dataclasses.dataclass
class Run:
    """What one run was told and what it did.

    `host` is the installation that runs, `began` its position in the order of events, less the lag of reads. `written`
    has the position of the last attempt or answer of each write to a driver, by key, `planned_at` that of the plan.
    `missing` are the drivers about which a request got a 404, which the fault `not_found` also gives for drivers that
    exist. `answers` are those to GETs and writes, `latest` is the newest of them, `replies` are those to writes,
    `listed` is the newest page of a list of all drivers that showed the driver; all by driver. `misled` is set if a
    listing hid something, `deceived` if the run could not notice. `lost` is when it stopped being the only writer,
    `wrong_clock` since when this machine's clock is wrong, `began_wrong` if that was before it began, `resumed` when it
    went on after it `stood_still` for so many seconds, `over` when it had to end, and `why_over` why.
    """

    name: str
    host: str
    process: int
    began: int
    started: float
    saved_plan: bool = False
    readings: list[SourceReading] = dataclasses.field(default_factory=list)
    source_failed: bool = False
    shown: dict[str, set[str]] = dataclasses.field(default_factory=lambda: collections.defaultdict(set))
    totals: dict[str, set[int]] = dataclasses.field(default_factory=lambda: collections.defaultdict(set))
    listings: list[Listing] = dataclasses.field(default_factory=list)
    deceived: bool = False
    misled: bool = False
    planned: bool = False
    planned_at: int = 0
    over: float | None = None
    why_over: str = ""
    resumed: float | None = None
    stood_still: float = 0.0
    lost: float | None = None
    wrong_clock: float | None = None
    began_wrong: bool = False
    superseded: float | None = None
    requests: int = 0
    expectations: list[expected_state.Expected] = dataclasses.field(default_factory=list)
    writes: list[tuple[str, expected_state.Pair, str]] = dataclasses.field(default_factory=list)
    written: dict[str, dict[str, int]] = dataclasses.field(default_factory=lambda: collections.defaultdict(dict))
    missing: set[str] = dataclasses.field(default_factory=set)
    answers: dict[str, list[Evidence]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    latest: dict[str, Evidence] = dataclasses.field(default_factory=dict)
    replies: dict[str, list[Evidence]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    listed: dict[str, Evidence] = dataclasses.field(default_factory=dict)
    proofs: dict[str, Evidence] = dataclasses.field(default_factory=dict)

    def plan_made(self, order: int) -> None:
        """Note that the run has planned, at this position in the order of events."""
        self.planned, self.planned_at = True, self.planned_at or order

    def end(self, why: str) -> None:
        """Note that nothing may be sent from now on."""
        if self.over is None:
            self.over, self.why_over = trio.current_time(), why

    def note(self, driver: str, answer: Evidence) -> None:
        """Note the answer to a GET or a write."""
        self.answers[driver].append(answer)
        self.latest[driver] = answer

    def proof(self, driver: str, *, key: str) -> Evidence | None:
        """Return the newest GET, if it was sent after the last write to the driver under another key was answered."""
        proof = self.proofs.get(driver)
        before = max((order for other, order in self.written[driver].items() if other != key), default=0)
        return proof if proof and proof.sent > before else None

    def latest_after_writing(self, driver: str) -> Evidence | None:
        """Return the newest answer about a driver that arrived after our last write to the driver, or None."""
        latest = self.latest.get(driver)
        written = max(self.written[driver].values(), default=0)
        return latest if latest and latest.received > written else None

    def latest_while_writing(self, driver: str) -> Evidence | None:
        """Return the newest answer about a driver to a request that was sent before our last write was answered."""
        last = max((order for orders in self.written.values() for order in orders.values()), default=0)
        return next((answer for answer in reversed(self.answers[driver]) if answer.sent <= last), None)

    def newest_after_writing(self, driver: str) -> list[Evidence]:
        """Return the newest answer about a driver after our last write, and a list that shows a later state, if any."""
        latest, listed = self.latest_after_writing(driver), self.listed.get(driver)
        later = latest and listed and listed.order > latest.order and listed.received > latest.received
        return [answer for answer in (latest, listed if later else None) if answer]


@dataclasses.dataclass(frozen=True)
class Effect:
    """A write that the server carried out, and the fleets in which it left the driver."""

    order: int
    time: float
    action: str
    pair: expected_state.Pair
    key: str | None
    changed: bool
    left: frozenset[str]


class Audit:
    """All observations. `levels` is how much of the burst each process has used up, and when."""

    def __init__(self, *, verbose: bool) -> None:
        """Start without observations."""
        self.verbose = verbose
        self.lines: list[str] = []
        self.violations: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.effects: list[Effect] = []
        self.levels: dict[int, tuple[float, float]] = {}
        self.keys: dict[str, tuple[str, expected_state.Pair]] = {}
        self.changes: dict[expected_state.Pair, list[tuple[int, str]]] = collections.defaultdict(list)
        self.directories: list[tuple[int, expected_state.Directory]] = []
        self.fingerprint = 0
        self._order = 0
        self._times: list[tuple[float, int]] = []

    def next(self) -> int:
        """Return the next position in the order of events."""
        self._order += 1
        self._times.append((trio.current_time(), self._order))
        return self._order

    @property
    def order(self) -> int:
        """Return the position of the last event."""
        return self._order

    def order_at(self, time: float) -> int:
        """Return the position of the last event at that time or before."""
        return max((order for at, order in reversed(self._times) if at <= time), default=0)

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        if self.verbose:
            self.lines.append(f"{trio.current_time():>12.3f}  {who:<10} {what}")

    def violated(self, rule: str, what: str) -> None:
        """Record that a rule was broken."""
        self.violations.append(f"{rule}: {what}")
        self.note("VIOLATION", f"{rule}: {what}")

    def directory(self, account: state.SandboxState) -> None:
        """Record what references resolve to from now on."""
        known = expected_state.Directory(
            {driver.id: driver.email for driver in account.drivers.values()},
            {driver.id: dict(driver.metadata) for driver in account.drivers.values()},
            {fleet.id: fleet.name for fleet in account.fleets.values()},
        )
        self.directories.append((self.next(), known))

    def directories_since(self, order: int) -> list[expected_state.Directory]:
        """Return every directory that was valid at some time since then."""
        positions = [position for position, _ in self.directories]
        first = max((index for index, position in enumerate(positions) if position <= order), default=0)
        return [known for _, known in self.directories[first:]]

    def fleet_changed(self, fleet: str, since: int) -> bool:
        """Return whether the members of a fleet changed since then, so that its pages may have shifted."""
        return any(where == fleet and self.changed((driver, where), since) for driver, where in self.changes)

    def changed(self, pair: expected_state.Pair, since: int) -> bool:
        """Return whether a membership changed since then."""
        return any(order > since for order, _ in self.changes.get(pair, ()))

    def changed_by_others(self, pair: expected_state.Pair, since: int, *, host: str) -> bool:
        """Return whether another author than this host changed a membership since then."""
        return any(order > since and author != host for order, author in self.changes.get(pair, ()))

    def driver_changed_by_others(self, driver: str, since: int, *, host: str) -> bool:
        """Return whether another author than this host changed any membership of a driver since then."""
        pairs = [pair for pair in self.changes if pair[0] == driver]
        return any(self.changed_by_others(pair, since, host=host) for pair in pairs)

    def delivered(
        self,
        run: Run,
        request: httpx.Request,
        response: httpx.Response,
        *,
        fault: str | None,
        sent: Sent,
        state_at: int,
    ) -> None:
        """Record what an answer told the client. `state_at` is the position of the state that a read shows."""
        self.fingerprint = hash_of(self.fingerprint, request.method, str(request.url), response.status_code)
        path = request.url.path.removeprefix("/v1/").split("/")
        if response.status_code == 401:
            run.end("a 401")
        if response.status_code == 404 and path[0] == "drivers":
            self._not_found(run, path[1], reading=request.method == "GET", sent=sent, state_at=state_at)
        if response.status_code != 200 or fault == "wrong_types":
            return
        try:
            document: Any = json.loads(response.content)
        except ValueError:
            return
        if request.method != "GET":
            # The answer to a retry may be a stored one: it shows the driver right after the first effect.
            key = request.headers.get("idempotency-key")
            order = next((effect.order for effect in self.effects if effect.key == key), sent.order)
            reply = Evidence(order, sent.order, sent.time, self.next(), frozenset(document["fleets"] or ()))
            run.note(path[1], reply)
            run.replies[path[1]].append(reply)
        elif len(path) == 2:
            self._object(run, document, sent=sent, state_at=state_at)
        else:
            self._page(run, path[0], request, document, deceptive=fault in DECEPTIONS)
            if path[0] == "drivers" and "fleet" not in request.url.params:
                self._list(run, document, sent=sent, state_at=state_at)

    def _not_found(self, run: Run, driver: str, *, reading: bool, sent: Sent, state_at: int) -> None:
        run.missing.add(driver)
        if reading:  # whoever is not there is in no fleet
            run.note(driver, Evidence(state_at, sent.order, sent.time, self.next(), frozenset()))

    def _object(self, run: Run, document: Any, *, sent: Sent, state_at: int) -> None:
        self._see(run, document)
        if document["object"] == "driver":
            fleets = frozenset(document["fleets"] or ())
            run.note(document["id"], Evidence(state_at, sent.order, sent.time, self.next(), fleets))
            run.proofs[document["id"]] = run.latest[document["id"]]

    def _page(self, run: Run, kind: str, request: httpx.Request, document: Any, *, deceptive: bool) -> None:
        fleet = request.url.params.get("fleet")
        run.deceived |= deceptive and fleet is None
        run.misled |= deceptive
        for item in document["data"] or ():
            self._see(run, item)
        if kind != "drivers":
            return
        if "page" not in request.url.params or not any(each.fleet == fleet for each in run.listings):
            run.listings.append(Listing(fleet))
        listing = next(each for each in reversed(run.listings) if each.fleet == fleet)
        listing.shown |= {item["id"]: frozenset(item["fleets"] or ()) for item in document["data"] or ()}
        listing.malformed |= {item["id"] for item in document["data"] or () if _is_malformed(item["name"])}
        listing.ended = document["next_page_url"] is None

    def _list(self, run: Run, document: Any, *, sent: Sent, state_at: int) -> None:
        received = self.next()
        for item in document["data"] or ():
            fleets = frozenset(item["fleets"] or ())
            run.listed[item["id"]] = Evidence(state_at, sent.order, sent.time, received, fleets)

    def _see(self, run: Run, item: Any) -> None:
        if item["object"] == "driver":
            run.shown[item["id"]] |= set(item["fleets"] or ())
        else:
            run.totals[item["id"]].add(item["total_drivers"])


class RecordedState(state.SandboxState):
    """The state of the account, which records every change and its author."""

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
            self.audit.changes[pair].append((order, host_of(key)))
        self.audit.note("server", f"{action} {short(driver)} {short(fleet)} {key} {'' if changed else '(no change)'}")

    def toggle(self, pair: expected_state.Pair) -> None:
        """Let another writer reverse a membership."""
        driver, fleet = pair
        action, act = ("detach", self.detach) if fleet in self.fleets_of(driver) else ("attach", self.attach)
        act(driver, fleet)
        self.audit.changes[pair].append((self.audit.next(), OTHERS))
        self.audit.note(OTHERS, f"{action} {short(driver)} {short(fleet)}")

    def delete(self, driver: str) -> None:
        """Let another writer delete a driver."""
        for fleet in self.fleets_of(driver):
            self.toggle((driver, fleet))
        self.remove_driver(driver)
        self.audit.directory(self)


def host_of(key: str | None) -> str:
    """Return the host that made an idempotency key."""
    return (key or OTHERS).partition("-")[0]


def members(account: state.SandboxState, fleet: str) -> frozenset[str]:
    """Return the members of a fleet, or none if it does not exist."""
    return account.members(fleet) if fleet in account.fleets else frozenset()


def short(id: str) -> str:
    """Shorten an id, to keep traces readable."""
    return id[:8]


def hash_of(*parts: object) -> int:
    """Return a checksum of values that is the same in every process."""
    return zlib.crc32(repr(parts).encode())


def _is_malformed(name: str) -> bool:
    """Return whether a name contains half a surrogate pair."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)
