"""Defects that would strand a driver, or report doubt as success.

Invariant: as in `defects`. Neighbours: `defects` and `former_survivors` have the others; `__main__` plants them.
"""

from tests.mutants.defects import Defect

PROOF = ("tests/engine/test_proof.py",)
UNCLEAR = ("tests/engine/test_unclear_writes.py", "tests/core/test_unclear_writes.py")

DEFECTS = (
    Defect(
        "detaching without a proof",
        "worker/engine/driver_lane.py",
        "if not self.state.wanted:",
        "if self.state.wanted or not self.state.wanted:",
        PROOF,
    ),
    Defect(
        "using a proof however old it is",
        "worker/engine/driver_lane.py",
        "if not proof.is_fresh(self._context.clock.uptime()):",
        "if not proof:",
        PROOF,
    ),
    Defect(
        "no repair of a membership that another client removed",
        "worker/core/safety/driver_state.py",
        "if not lost or self._repaired or not self.exists:",
        "if lost or self._repaired or not self.exists:",
        (*PROOF, "tests/core/test_driver_state.py"),
    ),
    Defect(
        "repairing again and again",
        "worker/core/safety/driver_state.py",
        "        self._repaired = True\n",
        "",
        (*PROOF, "tests/core/test_driver_state.py"),
    ),
    Defect(
        "calling a run converged although a driver is not where the sources want it",
        "worker/core/model/report.py",
        "if not all(problem.note for problem in self.problems):",
        "if self.problems and self.problems[0].note:",
        (*PROOF, "tests/core/test_report.py"),
    ),
    Defect(
        "a detach that queues behind everything else while its proof expires",
        "worker/engine/rate_limiter.py",
        "if self._urgent_waiters and not urgent:",
        "if self._urgent_waiters < 0 and not urgent:",
        PROOF,
    ),
    Defect(
        "believing a reply alone where the driver could not be read back",
        "worker/engine/verification.py",
        """            message = f"{humanize.count(unread, 'driver')} could not be read back"
            problems.append(Problem("verification", message, code""",
        """            message = f"{humanize.count(unread, 'driver')} could not be read back"
            problems.append(Problem("verification", message, note=True, code""",
        ("tests/engine/test_reconciler.py",),
    ),
    Defect(
        "leaving a total excused by a driver that was malformed and has been read since",
        "worker/engine/driver_reader.py",
        "            self._count_again(managed)\n",
        "            pass\n",
        ("tests/engine/test_incomplete_listings.py",),
    ),
    Defect(
        "recording as not made what an earlier attempt of this run may have done",
        "worker/engine/driver_lane.py",
        "pending.outcome = outcome = membership_writer.unless_unclear(pending.attempts, outcome)",
        "pending.outcome = outcome",
        UNCLEAR,
    ),
    Defect(
        "recording as not made what an attempt of an earlier run may have done",
        "worker/core/planning/unclear_writes.py",
        "    if not isinstance(outcome, Deferred):\n",
        "    if isinstance(outcome, Deferred):\n",
        UNCLEAR,
    ),
    Defect(
        "sending changes before the sources were looked at again",
        "worker/engine/applier.py",
        "                    await sources.poll()\n",
        "                    pass\n",
        ("tests/engine/test_source_watch.py",),
    ),
    Defect(
        "missing a row that moves to another source while they are read",
        "worker/engine/source_watch.py",
        "if len(self._sources) < 2 or await self._peek() == self._revisions:",
        "if self._sources:",
        ("tests/engine/test_source_watch.py",),
    ),
    Defect(
        "going on with a driver whose rows begin or end during the run",
        "worker/engine/plan_builder.py",
        "        self.sources.boundaries = plan.boundaries\n",
        "",
        ("tests/engine/test_source_watch.py",),
    ),
    Defect(
        "going on after a source changed",
        "worker/engine/source_watch.py",
        "self._superseded = True",
        "pass",
        ("tests/engine/test_source_watch.py",),
    ),
    Defect(
        "stopping a run for a revision that says the same",
        "worker/engine/source_watch.py",
        "not merge_sources.same_rows(desired, self._desired)",
        "desired is not self._desired",
        ("tests/engine/test_source_watch.py",),
    ),
    Defect(
        "believing a reading that lags behind",
        "worker/engine/verification.py",
        "for delay in (0.0, *driver_lane.READ_BACK_DELAYS):",
        "for delay in (0.0,):",
        PROOF,
    ),
    Defect(
        "leaving a repair that the end of the run cut short out of the report",
        "worker/engine/verification.py",
        "            lane.interrupt(self._cancellation.reason)  # in case the end of the run cut a repair short\n",
        "",
        ("tests/engine/test_applier_endings.py",),
    ),
    Defect(
        "believing a listing that lags behind the reply to the last write",
        "worker/engine/verification.py",
        "if lane.is_contradicted or not self._is_confirmed(lane, listed)]",
        "if not self._is_confirmed(lane, listed)]",
        PROOF,
    ),
    Defect(
        "ending the run for 403 to one object",
        "worker/engine/driver_reader.py",
        "if broken.forbidden:",
        "if broken.reason:",
        (*PROOF, "tests/engine/test_reader.py"),
    ),
    Defect(
        "refusing to count a driver who is gone as detached",
        "worker/engine/membership_writer.py",
        "if attempts.maybe_applied or gone or isinstance(error, Conflict):",
        "if attempts.maybe_applied or isinstance(error, Conflict):",
        PROOF,
    ),
    Defect(
        "saying that an unclear write was not made while it may still arrive",
        "worker/core/planning/observation.py",
        "return each.last_attempt is not None and now - each.last_attempt > late_effects",
        "return each.last_attempt is not None",
        (*UNCLEAR, "tests/core/test_recovery.py"),
    ),
    Defect(
        "sending an unclear write again in every run",
        "worker/core/planning/unclear_writes.py",
        "if change in planned and not each.resent}",
        "if change in planned}",
        UNCLEAR,
    ),
    Defect(
        "a new key for an unclear write",
        "worker/engine/applier.py",
        "                if change not in unclear\n",
        "                if change\n",
        UNCLEAR,
    ),
    Defect(
        "freezing the attach of a driver in no fleet",
        "worker/core/safety/guard.py",
        "if change.action is Action.DETACH or self.actual.memberships.get(change.driver) != frozenset()",
        "if change",
        ("tests/core/test_guard_memory.py",),
    ),
    Defect(
        "a second detach of a driver while a late one may take the wanted fleet",
        "worker/core/planning/unclear_writes.py",
        "waiting=_dangerous_detaches(unclear, planned) | resent,",
        "waiting=resent,",
        UNCLEAR,
    ),
    Defect(
        "sending an unclear write again past every guard",
        "worker/engine/guard_memory.py",
        "return earlier.intent.approved or held.guard in guard.WINDOW_LIMITS",
        "return True",
        ("tests/engine/test_unclear_writes.py",),
    ),
    Defect(
        "a second key for an unclear write whose row has moved",
        "worker/core/model/plan.py",
        "origin: Origin | None = dataclasses.field(default=None, compare=False)",
        "origin: Origin | None = None",
        ("tests/engine/test_unclear_writes.py",),
    ),
    Defect(
        "an undo of half a move",
        "worker/core/planning/undo.py",
        " and not after[change.driver].wanted",
        " and False",
        ("tests/core/test_undo.py",),
    ),
    Defect(
        "a fleet that forbids writes ends the run",
        "worker/core/safety/forbidden_writes.py",
        "len(fleets) > 1 or fleets >= self._fleets",
        "fleets",
        ("tests/core/test_forbidden_writes.py",),
    ),
    Defect(
        "an undo of a repair",
        "worker/core/planning/undo.py",
        "planned = own.keys() if plan is None else",
        "planned = own.keys() if True else",
        ("tests/core/test_undo.py",),
    ),
)
