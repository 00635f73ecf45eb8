"""Judges from the model's side what a run intends and sends, at the moment when it does.

Invariant: what could have been true at some moment of the run is allowed to it: others change things while it reads.
Neighbours: `audit` has what was seen, `truth` what it meant, `endings` judges what is left when a world ends.
"""

import collections
import dataclasses
import json
from collections.abc import Callable, Sequence

import httpx
import trio

from tests.simulation import audit, expected_state, fake_journal, wire
from worker.core.model.desired import Mode
from worker.core.model.identifiers import IntentKey, RunId
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.ports import Intent
from worker.core.safety import guard
from worker.sandbox import app

_TOLERANCE = 0.01
_FEW_REFERENCES = 20


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the operator has set, as far as it can be broken."""

    mode: Mode
    limits: guard.Limits
    rate: float
    burst: float
    most_requests: int


class Judge:
    """Judges one life's runs. `truths` gives what the sources of a run may mean, at any moment of it."""

    def __init__(
        self,
        *,
        seen: audit.Audit,
        held: audit.RecordedState,
        disk: fake_journal.Storage,
        rules: Rules,
        truths: Callable[[audit.Run], list[expected_state.Expected]],
    ) -> None:
        """Take what is judged, and by what."""
        self._seen = seen
        self._roster = held
        self._disk = disk
        self._rules = rules
        self._truths = truths

    # --- what is intended

    def landed(self, run: audit.Run, name: RunId, intents: Sequence[Intent], guarded: GuardedPlan) -> None:
        """Judge a run's intents as they get to the disk."""
        changes = [intent.change for intent in intents]
        left_out = {change.driver for change in set(guarded.changes) - set(changes)}
        unclear = {entry.intent.change.driver for entry in self._disk.entries.values() if entry.open and entry.resent}
        if (
            name != run.name
            or not set(changes) <= set(guarded.changes)
            or len(changes) != len(set(changes))
            or not left_out <= unclear
        ):
            self._seen.violated("rule 7", f"{name} intends something else than was judged")
        truths = run.truths = self._truths(run)
        if run.source_failed:
            self._seen.violated("rule 2", f"{name} changes something though a source could not be read")
        if truths and all(wishes.contradictory for wishes in truths):
            self._seen.violated("rule 2", f"{name} changes something though its sources contradict each other")
        if not run.deceived and truths and all(self._mistrusted(wishes) for wishes in truths):
            self._seen.violated("guard", f"{name} changes something though too many references lead nowhere")
        for change in changes:
            self._change(run, change, truths)
        self._limits(run, changes, approved=self._disk.approved(guarded))
        self._moved(run, changes, truths, approved=self._disk.approved(guarded))

    def _change(self, run: audit.Run, change: Change, truths: list[expected_state.Expected]) -> None:
        pair = (str(change.driver), str(change.fleet))
        here = pair[1] in self._roster.fleets_of(pair[0]) if pair[0] in self._roster.drivers else False
        attach = change.action is Action.ATTACH
        if here is attach and not self._seen.stirred(pair[1], run.began) and not run.misled:
            self._seen.violated("rule 9", f"{_shown(change)} is intended, and is so already")
        if attach:
            good = any(pair in (wishes.possible if run.deceived else wishes.wanted) for wishes in truths)
            if not good:
                self._seen.violated("rule 1", f"{_shown(change)} is intended, and no source wants it")
            return
        reasons = [self._objection(pair, wishes, deceived=run.deceived) for wishes in truths]
        if all(reasons):
            self._seen.violated("rule 1", f"{_shown(change)} is intended, though {reasons[-1]}")
        if pair[1] not in run.shown.get(pair[0], ()):
            self._seen.violated("rule 1", f"{_shown(change)} is intended, and was never seen in this run")
        self._complete(run, change, truths)

    def _objection(self, pair: expected_state.Pair, wishes: expected_state.Expected, *, deceived: bool) -> str | None:
        """Give what speaks against a detach, if these are the wishes."""
        driver, fleet = pair
        modes = wishes.perhaps.get(fleet, set()) if deceived else {wishes.modes.get(fleet)}
        if Mode.EXACT not in modes:
            return f"the fleet is unmanaged or not exact ({modes})"
        if pair in wishes.wanted:
            return "a source wants it"
        if fleet in (wishes.lost if deceived else wishes.unclear):
            return "a reference of that fleet leads nowhere"
        if driver in (wishes.stranded if deceived else wishes.waiting):
            return "the driver is wanted in a fleet that is not known"
        return None

    def _complete(self, run: audit.Run, change: Change, truths: list[expected_state.Expected]) -> None:
        fleet = str(change.fleet)
        totals = run.totals.get(fleet, set())
        chains = [chain for chain in run.chains if chain.ended and chain.fleet in (None, fleet)]
        counts = {sum(fleet in fleets for fleets in chain.shown.values()) for chain in chains}
        if chains:
            counts.add(sum(fleet in fleets for fleets in run.shown.values()))
        if not any(abs(count - total) <= _TOLERANCE * total for count in counts for total in totals):
            what = f"listings counted {sorted(counts)}, and total_drivers was {sorted(totals)}"
            self._seen.violated("rule 2", f"{_shown(change)} is intended after an incomplete reading: {what}")
        wanted = [{driver for driver, where in wishes.wanted if where == fleet} for wishes in truths]
        if wanted and all(drivers - run.shown.keys() for drivers in wanted):
            self._seen.violated("rule 2", f"{_shown(change)} is intended, though somebody wanted there was not seen")

    def _mistrusted(self, wishes: expected_state.Expected) -> bool:
        limit = self._rules.limits.max_unresolved_fraction
        return wishes.references >= _FEW_REFERENCES and wishes.unresolved / wishes.references > limit

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
        for where, drivers in leaving.items():
            self._limits_of(run, where, drivers)
        managed = {str(fleet) for wishes in run.truths for fleet in wishes.perhaps}
        count = sum(map(len, leaving.values()))
        total = sum(len(self._at_most(fleet, run)) for fleet in managed)
        if count > limits.always_allow and count / max(1, total) > limits.max_detach_fraction:
            self._seen.violated("guard", f"{run.name} detaches {count} of {total} memberships")

    def _limits_of(self, run: audit.Run, fleet: str, leaving: set[str]) -> None:
        limits, members = self._rules.limits, self._at_most(fleet, run)
        if leaving >= members and not limits.allow_emptying_fleets:
            self._seen.violated("guard", f"{run.name} empties {audit.short(fleet)}")
        share = len(leaving) / max(1, len(members))
        if len(leaving) > limits.always_allow and share > limits.max_detach_fraction_per_fleet:
            self._seen.violated("guard", f"{run.name} detaches {share:.0%} of {audit.short(fleet)}")

    def _at_most(self, fleet: str, run: audit.Run) -> frozenset[str]:
        """Give everybody who was in a fleet at some moment of the run."""
        passing = {driver for driver, where in self._seen.toggles if where == fleet}
        lately = {driver for driver in passing if self._seen.toggled((driver, fleet), run.began)}
        return audit.members(self._roster, fleet) | lately

    def _moved(
        self, run: audit.Run, changes: Sequence[Change], truths: list[expected_state.Expected], *, approved: bool
    ) -> None:
        if approved or run.deceived or not truths:
            return
        touched = {str(change.driver) for change in changes}
        for reference, before in sorted(self._disk.resolutions.items()):
            leads = {wishes.leads.get(reference, before) for wishes in truths}
            if before not in leads and len(leads) == 1 and touched & (leads | {before}):
                self._seen.violated("stories", f"{run.name} acts on {reference}, which led to another driver before")

    # --- what is sent

    def sending(self, run: audit.Run, request: httpx.Request) -> None:
        """Judge a request right before it goes."""
        now = trio.current_time()
        self._seen.counts["requests"] += 1
        run.requests += 1
        if (request.url.scheme, request.url.host) != wire.ORIGIN:
            self._seen.violated("rule 6", f"a request to {request.url.host}")
        if request.headers.get("authorization") != f"Bearer {app.KEY}":
            self._seen.violated("rule 6", "a request without the key")
        if run.over is not None and now > run.over:
            what = f"{request.method} {request.url.path} {now - run.over:.3f} s after {run.why_over}"
            self._seen.violated("halt", what)
        if run.requests == self._rules.most_requests + 1:
            self._seen.violated("bound", f"{run.name} makes more than {self._rules.most_requests} requests")
        self._limiter(run, now)
        if request.method == "POST":
            self._write(run, request, now)

    def _limiter(self, run: audit.Run, now: float) -> None:
        level, last = self._seen.levels.get(run.life, (0.0, now))
        level = max(min(0.0, level), level - (now - last) * self._rules.rate) + 1
        self._seen.levels[run.life] = (level, now)
        if level > self._rules.burst + 1e-6:
            self._seen.violated("pace", f"{level:.2f} requests at once, and {self._rules.burst} are allowed")

    def _write(self, run: audit.Run, request: httpx.Request, now: float) -> None:
        _, _, _, driver, action = request.url.path.split("/")
        pair, key = (driver, json.loads(request.content)["fleet"]), request.headers.get("idempotency-key", "")
        self._seen.counts["writes"] += 1
        what = f"{action} {audit.short(pair[0])} {audit.short(pair[1])} under {key or 'no key'}"
        entry = self._disk.entries.get(IntentKey(key))
        intended = entry and (entry.intent.change.action, entry.intent.change.driver, entry.intent.change.fleet)
        if entry is None or intended != (action, *pair):
            self._seen.violated("rule 4", f"{what} is sent, and the journal has no such intent")
        elif not entry.open or (entry.run != run.name and not entry.resent):
            self._seen.violated("rule 5", f"{what} is sent, and the intent is closed or another run's")
        if self._seen.keys.setdefault(key, (action, pair)) != (action, pair):
            self._seen.violated("rule 5", f"{what} is sent, and the key was another write's")
        repair = entry is not None and entry.repair
        if not repair and any(
            other != key for a_action, a_pair, other in run.writes if (a_action, a_pair) == (action, pair)
        ):
            self._seen.violated("rule 5", f"{what} is sent, and was sent under another key before")
        if run.lost is not None and now > run.lost:
            self._seen.violated("one writer", f"{what} is sent, and somebody else is the writer")
        if run.resumed is not None and now > run.resumed:
            self._seen.violated("pause", f"{what} is sent after the process stood still")
        self._order(run, action, pair, what, repair=repair)
        run.writes.append((action, pair, key))

    def _order(
        self, run: audit.Run, action: str, pair: expected_state.Pair, what: str, *, repair: bool = False
    ) -> None:
        """Judge whether attaches come before detaches, and succeed before them."""
        before = {a_action for a_action, (driver, _), _ in run.writes if driver == pair[0]}
        if action == "attach":
            if "detach" in before and not repair:
                self._seen.violated("rule 3", f"{what} is sent after a detach of the same driver")
            return
        for entry in self._disk.entries.values():
            change = entry.intent.change
            if entry.run != run.name or change.driver != pair[0] or change.action is not Action.ATTACH:
                continue
            there = change.fleet in self._roster.fleets_of(pair[0]) if pair[0] in self._roster.drivers else True
            if not there and not self._seen.toggled((pair[0], str(change.fleet)), run.began):
                self._seen.violated("rule 3", f"{what} is sent, and the driver is not in {audit.short(change.fleet)}")


def _shown(change: Change) -> str:
    return f"{change.action} {audit.short(change.driver)} {audit.short(change.fleet)}"
