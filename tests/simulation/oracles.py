"""Judges what a run intends and sends, at the moment when it does, independently of the product.

Invariant: a run may do what was right at some moment of the run, because others change things while it reads.
Neighbours: `audit` has the observations, `expected_state` says what the sources ask for, `state_oracle` judges the end
of a run, `final_checks` the end of a world.
"""

import collections
import dataclasses
import json
from collections.abc import Callable, Sequence

import httpx
import trio

from tests.simulation import audit, expected_state, journal_storage, network
from worker.core.model.desired import Mode
from worker.core.model.identifiers import IntentKey
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.ports import Intent
from worker.core.safety import guard
from worker.sandbox import app

_TOLERANCE = 0.01
NOTICED_SECONDS = 3.0
"""How long a run may take to notice that a source changed."""

_FEW_REFERENCES = 20
_FEW_ROWS = 2
_MOST_LOST = 0.1
_BASELINE_SECONDS = 23 * 3600.0
"""A source is compared with the last 24 hours; the last of them may lie before the window by now."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """The settings that a run can break."""

    mode: Mode
    limits: guard.Limits
    rate: float
    burst: float
    most_requests: int
    proof_seconds: float


class Judge:
    """Judges the runs of one process.

    `expectations` returns what the sources of a run ask for, at any moment of it; `always_wanted` what they want
    whatever the time is.
    """

    def __init__(
        self,
        *,
        seen: audit.Audit,
        account: audit.RecordedState,
        storage: journal_storage.Storage,
        rules: Rules,
        expectations: Callable[[audit.Run], list[expected_state.Expected]],
        always_wanted: Callable[[audit.Run], set[expected_state.Pair]],
    ) -> None:
        """Store what is judged and by which rules."""
        self._seen = seen
        self._account = account
        self._storage = storage
        self._rules = rules
        self._expectations = expectations
        self._always_wanted = always_wanted

    # --- what is intended

    def begun(self, run: audit.Run, intents: Sequence[Intent], resent: Sequence[Intent], guarded: GuardedPlan) -> None:
        """Judge a run's intents when they are on disk. `resent` are open intents of earlier runs."""
        name, changes = run.name, [intent.change for intent in (*intents, *resent)]
        if not set(changes) <= set(guarded.changes) or len(changes) != len(set(changes)):
            self._seen.violated("rule 7", f"{name} intends something else than was evaluated")
        if run.saved_plan:
            self._still_fit(run, changes)
            return
        if run.began_wrong:
            self._by_wrong_clock(run, [intent.change for intent in intents], guarded)
        expectations = run.expectations = self._expectations(run)
        if run.source_failed:
            self._seen.violated("rule 2", f"{name} changes something though a source could not be read")
        if expectations and all(expected.contradictory for expected in expectations):
            self._seen.violated("rule 2", f"{name} changes something though its sources contradict each other")
        certain = not run.deceived and run.wrong_clock is None  # by a wrong clock rows with dates do not count
        if certain and expectations and all(self._mistrusted(expected) for expected in expectations):
            self._seen.violated("guard", f"{name} changes something though too many references lead nowhere")
        for change in changes:
            self._change(run, change, expectations)
        # What is resent passed the guard when it was sent first.
        self._limits(run, [intent.change for intent in intents], approved=self._storage.approved(guarded))
        self._moved(run, changes, expectations, approved=self._storage.approved(guarded))

    def _by_wrong_clock(self, run: audit.Run, changes: Sequence[Change], guarded: GuardedPlan) -> None:
        """Judge whether a run whose clock was wrong from the start intends what rests on the time."""
        always = self._always_wanted(run)
        for change in changes:
            if change.action is Action.DETACH or (str(change.driver), str(change.fleet)) not in always:
                self._seen.violated("clock", f"{_shown(change)} is intended by a wrong clock")
        if guarded.approved:
            self._seen.violated("clock", f"{run.name} uses an approval by a wrong clock")

    def _still_fit(self, run: audit.Run, changes: Sequence[Change]) -> None:
        """Judge whether each change of a saved plan still fits what the run read.

        Of two listings one may show a driver before a change and the other after it: somebody else's change while
        they are read, or, if reads lag, one that this installation made just before.
        """
        for change in changes:
            attach, shown = change.action is Action.ATTACH, run.shown.get(str(change.driver), set())
            pair = (str(change.driver), str(change.fleet))
            if self._seen.changed(pair, run.began):
                continue
            if (str(change.fleet) in shown) is attach and not run.misled:
                self._seen.violated("rule 9", f"{_shown(change)} of a saved plan is intended, and does not fit")

    def _change(self, run: audit.Run, change: Change, expectations: list[expected_state.Expected]) -> None:
        pair = (str(change.driver), str(change.fleet))
        here = pair[1] in self._account.fleets_of(pair[0]) if pair[0] in self._account.drivers else False
        attach = change.action is Action.ATTACH
        if here is attach and not self._seen.fleet_changed(pair[1], run.began) and not run.misled:
            self._seen.violated("rule 9", f"{_shown(change)} is intended, and is so already")
        if attach:
            good = any(pair in (expected.possible if run.deceived else expected.wanted) for expected in expectations)
            if not good:
                self._seen.violated("rule 1", f"{_shown(change)} is intended, and no source wants it")
            return
        reasons = [self._objection(pair, expected, deceived=run.deceived) for expected in expectations]
        if all(reasons):
            self._seen.violated("rule 1", f"{_shown(change)} is intended, though {reasons[-1]}")
        if pair[1] not in run.shown.get(pair[0], ()):
            self._seen.violated("rule 1", f"{_shown(change)} is intended, and was never seen in this run")
        self._complete(run, change, expectations)

    def _objection(self, pair: expected_state.Pair, expected: expected_state.Expected, *, deceived: bool) -> str | None:
        """Return what speaks against a detach if this is expected, or None."""
        driver, fleet = pair
        modes = expected.perhaps.get(fleet, set()) if deceived else {expected.modes.get(fleet)}
        if Mode.EXACT not in modes:
            return f"the fleet is unmanaged or not exact ({modes})"
        if pair in expected.wanted:
            return "a source wants it"
        if fleet in (expected.lost if deceived else expected.unclear):
            return "a reference of that fleet leads nowhere"
        if driver in (expected.stranded if deceived else expected.waiting):
            return "the driver is wanted in a fleet that is not known"
        return None

    def _complete(self, run: audit.Run, change: Change, expectations: list[expected_state.Expected]) -> None:
        fleet = str(change.fleet)
        totals = run.totals.get(fleet, set())
        listings = [listing for listing in run.listings if listing.ended and listing.fleet in (None, fleet)]
        counts = set[int]()
        for listing in listings:
            members = {driver for driver, fleets in listing.shown.items() if fleet in fleets}
            unread = listing.malformed - run.proofs.keys()
            # A driver that was never read may be a member or not, as far as the run can know.
            counts |= {len(members - unread) + number for number in range(len(unread) + 1)}
        if listings:
            counts.add(sum(fleet in fleets for fleets in run.shown.values()))
        if not any(abs(count - total) <= _TOLERANCE * total for count in counts for total in totals):
            what = f"listings counted {sorted(counts)}, and total_drivers was {sorted(totals)}"
            self._seen.violated("rule 2", f"{_shown(change)} is intended after an incomplete reading: {what}")
        wanted = [{driver for driver, where in expected.wanted if where == fleet} for expected in expectations]
        if wanted and all(drivers - run.shown.keys() for drivers in wanted):
            self._seen.violated("rule 2", f"{_shown(change)} is intended, though a driver wanted there was not seen")

    def _mistrusted(self, expected: expected_state.Expected) -> bool:
        limit = self._rules.limits.max_unresolved_fraction
        return expected.references >= _FEW_REFERENCES and expected.unresolved / expected.references > limit

    def _limits(self, run: audit.Run, changes: Sequence[Change], *, approved: bool) -> None:
        limits = self._rules.limits
        leaving: dict[str, set[str]] = collections.defaultdict(set)
        for change in changes:
            if change.action is Action.DETACH:
                leaving[str(change.fleet)].add(str(change.driver))
        for driver, fleet in sorted(limits.must_see):
            if leaving and (fleet not in run.shown.get(driver, ()) or driver in leaving.get(fleet, ())):
                self._seen.violated("guard", f"{run.name} detaches though must_see names {driver}/{fleet}")
        if approved:
            return
        self._shrunk(run, detaches=bool(leaving))
        for where, drivers in leaving.items():
            self._limits_of(run, where, drivers)
        managed = {str(fleet) for expected in run.expectations for fleet in expected.perhaps}
        count = sum(map(len, leaving.values()))
        total = sum(len(self._at_most(fleet, run)) for fleet in managed)
        if count > limits.always_allow and count / max(1, total) > limits.max_detach_fraction:
            self._seen.violated("guard", f"{run.name} detaches {count} of {total} memberships")

    def _shrunk(self, run: audit.Run, *, detaches: bool) -> None:
        """Judge whether a run may detach at all: the first source names every managed fleet."""
        if not detaches or not run.readings:
            return
        since = trio.current_time() - _BASELINE_SECONDS
        name, rows = run.readings[0].source.name, run.readings[0].source.rows
        sizes = self._storage.sizes.get(name, [])
        before = max((size for at, size in sizes if at >= since), default=sizes[-1][1] if sizes else rows)
        if before - rows > _FEW_ROWS and (before - rows) / before > _MOST_LOST:
            self._seen.violated("shrunk", f"{run.name} detaches though {name} has {rows} rows instead of {before}")

    def _limits_of(self, run: audit.Run, fleet: str, leaving: set[str]) -> None:
        limits, members = self._rules.limits, self._at_most(fleet, run)
        if leaving >= members and not limits.allow_emptying_fleets:
            self._seen.violated("guard", f"{run.name} empties {audit.short(fleet)}")
        share = len(leaving) / max(1, len(members))
        if len(leaving) > limits.always_allow and share > limits.max_detach_fraction_per_fleet:
            self._seen.violated("guard", f"{run.name} detaches {share:.0%} of {audit.short(fleet)}")

    def _at_most(self, fleet: str, run: audit.Run) -> frozenset[str]:
        """Return every driver who was in a fleet at some moment of the run."""
        passing = {driver for driver, where in self._seen.changes if where == fleet}
        lately = {driver for driver in passing if self._seen.changed((driver, fleet), run.began)}
        return audit.members(self._account, fleet) | lately

    def _moved(
        self, run: audit.Run, changes: Sequence[Change], expectations: list[expected_state.Expected], *, approved: bool
    ) -> None:
        if approved or run.deceived or not expectations:
            return
        touched = {str(change.driver) for change in changes}
        for reference, before in sorted(self._storage.resolutions.items()):
            leads = {expected.leads.get(reference, before) for expected in expectations}
            if before not in leads and len(leads) == 1 and touched & (leads | {before}):
                self._seen.violated("stories", f"{run.name} acts on {reference}, which led to another driver before")

    # --- what is sent

    def sending(self, run: audit.Run, request: httpx.Request) -> None:
        """Judge a request right before it is sent."""
        now = trio.current_time()
        self._seen.counts["requests"] += 1
        run.requests += 1
        if (request.url.scheme, request.url.host) != network.ORIGIN:
            self._seen.violated("rule 6", f"a request to {request.url.host}")
        if request.headers.get("authorization") != f"Bearer {app.KEY}":
            self._seen.violated("rule 6", "a request without the key")
        if run.over is not None and now > run.over:
            what = f"{request.method} {request.url.path} {now - run.over:.3f} s after {run.why_over}"
            self._seen.violated("shutdown", what)
        if run.requests == self._rules.most_requests + 1:
            self._seen.violated("bound", f"{run.name} makes more than {self._rules.most_requests} requests")
        self._limiter(run, now)
        if request.method == "POST":
            self._write(run, request, now)

    def _limiter(self, run: audit.Run, now: float) -> None:
        level, last = self._seen.levels.get(run.process, (0.0, now))
        level = max(min(0.0, level), level - (now - last) * self._rules.rate) + 1
        self._seen.levels[run.process] = (level, now)
        if level > self._rules.burst + 1e-6:
            self._seen.violated("rate limit", f"{level:.2f} requests at once, and {self._rules.burst} are allowed")

    def _write(self, run: audit.Run, request: httpx.Request, now: float) -> None:
        _, _, _, driver, action = request.url.path.split("/")
        pair, key = (driver, json.loads(request.content)["fleet"]), request.headers.get("idempotency-key", "")
        self._seen.counts["writes"] += 1
        what = f"{action} {audit.short(pair[0])} {audit.short(pair[1])} under {key or 'no key'}"
        entry = self._storage.entries.get(IntentKey(key))
        repair = bool(entry and entry.repair)
        self._key(run, entry, (action, pair, key), what)
        if run.lost is not None and now > run.lost:
            self._seen.violated("one writer", f"{what} is sent, and another process is the writer")
        if run.resumed is not None and now > run.resumed:
            self._seen.violated("pause", f"{what} is sent after the process stood still")
        if not repair:
            self._superseded(run, what, now)
        self._order(run, action, pair, what, repair=repair)
        if action == "detach" and run.wrong_clock is not None and now > run.wrong_clock:
            self._seen.violated("clock", f"{what} is sent by a wrong clock")
        if action == "detach":
            self._proof(run, pair, key, what)
        run.writes.append((action, pair, key))
        run.written[driver][key] = self._seen.next()

    def _key(
        self,
        run: audit.Run,
        entry: journal_storage.Entry | None,
        write: tuple[str, expected_state.Pair, str],
        what: str,
    ) -> None:
        """Judge whether a write has an open intent of its own, and keeps its key."""
        action, pair, key = write
        intended = entry and (entry.intent.change.action, entry.intent.change.driver, entry.intent.change.fleet)
        if entry is None or intended != (action, *pair):
            self._seen.violated("rule 4", f"{what} is sent, and the journal has no such intent")
        elif run.name not in entry.runs or not entry.open:
            self._seen.violated("rule 5", f"{what} is sent, and the intent is closed or another run's")
        if self._seen.keys.setdefault(key, (action, pair)) != (action, pair):
            self._seen.violated("rule 5", f"{what} is sent, and the key was another write's")
        repeated = any(other != key for *same, other in run.writes if same == [action, pair])
        if repeated and not (entry and entry.repair):
            self._seen.violated("rule 5", f"{what} is sent, and was sent under another key before")

    def _superseded(self, run: audit.Run, what: str, now: float) -> None:
        """Judge whether a write is sent well after a source changed."""
        late = run.superseded is not None and now > run.superseded + NOTICED_SECONDS
        if late and run.resumed is None and not run.saved_plan:
            self._seen.violated("rule 11", f"{what} is sent, and a source has changed since")

    def _proof(self, run: audit.Run, pair: expected_state.Pair, key: str, what: str) -> None:
        """Judge whether a driver who is wanted elsewhere is proven to be in a wanted fleet before a detach."""
        driver, fleet = pair
        if not run.expectations or run.deceived:
            return
        wanted = [{where for who, where in each.wanted if who == driver} - {fleet} for each in run.expectations]
        if not all(wanted):
            return
        proof = run.proof(driver, key=key)
        if proof is None or not proof.fleets & set().union(*wanted):
            self._seen.violated("proof", f"{what} is sent without proof that the driver is in a wanted fleet")
            return
        age = trio.current_time() - proof.sent_at
        if run.resumed == trio.current_time():
            age -= run.stood_still  # between the last check and the sending, where nothing can be checked any more
        if age > self._rules.proof_seconds + 1e-6:
            self._seen.violated("proof", f"{what} is sent on a proof of {age:.1f} s ago")

    def _order(self, run: audit.Run, action: str, pair: expected_state.Pair, what: str, *, repair: bool) -> None:
        """Judge whether attaches are sent before detaches."""
        before = {a_action for a_action, (driver, _), _ in run.writes if driver == pair[0]}
        if action == "attach":
            if "detach" in before and not repair:
                self._seen.violated("rule 3", f"{what} is sent after a detach of the same driver")
            return
        for entry in self._storage.entries.values():
            change = entry.intent.change
            if entry.run != run.name or change.driver != pair[0] or change.action is not Action.ATTACH:
                continue
            there = change.fleet in self._account.fleets_of(pair[0]) if pair[0] in self._account.drivers else True
            if not there and not self._seen.changed((pair[0], str(change.fleet)), run.began):
                self._seen.violated("rule 3", f"{what} is sent, and the driver is not in {audit.short(change.fleet)}")


def _shown(change: Change) -> str:
    return f"{change.action} {audit.short(change.driver)} {audit.short(change.fleet)}"
