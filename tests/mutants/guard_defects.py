"""Defects of approvals, saved plans and scope: what would walk around the guard.

Invariant: as in `defects`. Neighbours: `defects` and `former_survivors` have the others; `__main__` plants all.
"""

from tests.mutants.defects import Defect

APPROVALS = ("tests/journal/test_approvals.py",)
SAVED = ("tests/engine/test_saved_plan.py", "tests/core/test_guard.py")
SCOPE = (
    "tests/core/test_vanished_fleets.py",
    "tests/engine/test_vanished_fleets.py",
    "tests/core/test_notifications.py",
)
OBSERVE = ("tests/engine/test_observe_only.py", "tests/e2e/test_vanished_fleets.py")
WINDOW = ("tests/core/test_window.py", "tests/engine/test_window.py", "tests/journal/test_remembered.py")

DEFECTS = (
    Defect(
        "forgetting who approved",
        "worker/journal/sql_journal.py",
        "for statement in (queries.USE_APPROVAL, queries.KEEP_APPROVAL):",
        "for statement in (queries.USE_APPROVAL,):",
        APPROVALS,
    ),
    Defect(
        "naming an approval that another run used up",
        "worker/journal/queries.py",
        "WHERE account = :account AND digest = :digest AND used_by = :run AND until > :now",
        "WHERE account = :account",
        APPROVALS,
    ),
    Defect(
        "freeing what a saved plan held, because no guard holds it now",
        "worker/core/safety/guard.py",
        "return {**{hold.change: hold for hold in held_before}, **holds}",
        "return holds",
        SAVED,
    ),
    Defect(
        "freeing what must_see held when the plan was made",
        "worker/core/safety/guard.py",
        "            if hold.guard == code:\n                holds.setdefault(hold.change, hold)",
        "            if hold.guard == code and hold.change not in case.plan.changes:\n"
        "                holds.setdefault(hold.change, hold)",
        SAVED,
    ),
    Defect(
        "believing that the approval of a saved plan still holds",
        "worker/core/planning/saved_plan.py",
        "return (*saved.held, *saved.approved)",
        "return saved.held",
        SAVED,
    ),
    Defect(
        "applying a saved plan without what was done since",
        "worker/engine/plan_builder.py",
        "once, approvals, held_before=before",
        "guard.NO_HISTORY, approvals, held_before=before",
        SAVED,
    ),
    Defect(
        "evaluating a saved plan by its drivers alone",
        "worker/engine/plan_builder.py",
        "if is_limited or saved_plan.needs_fleets(saved, rules.ignored | rules.unmanaged):",
        "if is_limited:",
        SAVED,
    ),
    Defect(
        "not looking up who is ignored, or which fleet is unmanaged, for a saved plan of attaches",
        "worker/core/planning/saved_plan.py",
        "return not by_id or any(change.action is Action.DETACH",
        "return any(change.action is Action.DETACH",
        SAVED,
    ),
    Defect(
        "a saved plan in a fleet that it does not manage",
        "worker/cli/plan_file.py",
        "if contradiction := plan.contradiction():",
        "if False and (contradiction := plan.contradiction()):",
        ("tests/cli/test_plan_file.py",),
    ),
    Defect(
        "a saved plan in a fleet that is unmanaged by now",
        "worker/core/planning/saved_plan.py",
        "_no_longer_managed(change.fleet, saved, actual, unmanaged)\n            or _ignored",
        "_ignored",
        SAVED,
    ),
    Defect(
        "a saved plan without a fleet that a source names and unmanaged lists",
        "worker/core/planning/saved_plan.py",
        "{fleet} - saved.listed_unmanaged",
        "{fleet}",
        SAVED,
    ),
    Defect(
        "a saved plan that forgets in its file which fleets were listed in unmanaged",
        "worker/cli/plan_file.py",
        "plan.fleets.items() if each.listed_unmanaged)",
        "plan.fleets.items() if False)",
        ("tests/cli/test_plan_file.py",),
    ),
    Defect(
        "a saved plan with a driver who is ignored by now",
        "worker/core/planning/saved_plan.py",
        "            or _ignored_since(change, ignored)\n",
        "",
        SAVED,
    ),
    Defect(
        "a saved plan whose age is checked by a clock that is behind",
        "worker/engine/reconciler.py",
        "self._wall_clock.assess().latest - saved.created",
        "self._wall_clock.assess().now - saved.created",
        ("tests/engine/test_clock.py",),
    ),
    Defect(
        "an undo that does not count",
        "worker/engine/plan_builder.py",
        "decision = guard.evaluate(plan, actual, self._rules.limits, past, approvals)\n        guarded = self._guarded("
        "plan, decision, clock, past.recent, actual=actual)",
        "decision = guard.evaluate(plan, actual, self._rules.limits, approvals=approvals)\n        guarded = "
        "self._guarded(plan, decision, clock, past.recent, actual=actual)",
        WINDOW,
    ),
    Defect(
        "forgetting a fleet once it was reported as vanished",
        "worker/engine/guard_memory.py",
        "(before | plan.members.keys()) - given_up",
        "frozenset(plan.members)",
        SCOPE,
    ),
    Defect(
        "a vanished fleet whose name another fleet has by now",
        "worker/core/planning/vanished_fleets.py",
        "if now is None or {earlier, now} & changed:",
        "if now is None or earlier != now:",
        SCOPE,
    ),
    Defect(
        "a vanished fleet that leaves the exit code 0",
        "worker/core/model/plan.py",
        "return bool(self.unresolved or self.incomplete or self.vanished)",
        "return bool(self.unresolved or self.incomplete)",
        SCOPE,
    ),
    Defect(
        "notifying a vanished fleet after every run",
        "worker/core/monitoring/notifications.py",
        "if after.vanished - before.vanished:",
        "if after.vanished:",
        SCOPE,
    ),
    Defect(
        "observing with writes",
        "worker/engine/reconciler.py",
        "if not self._builder.may_apply:",
        "if False:",
        OBSERVE,
    ),
    Defect(
        "an approval that frees changes which are only observed",
        "worker/engine/guard_memory.py",
        "if not clock.trusted or not self._applies:",
        "if not clock.trusted:",
        OBSERVE,
    ),
    Defect(
        "applying a saved plan although the account is only observed",
        "worker/cli/plan_commands.py",
        "if not account.rules.apply:",
        "if False:",
        OBSERVE,
    ),
    Defect(
        "an approval that is not among the granted ones",
        "worker/core/safety/guard.py",
        'return digest if digest in approvals.digests else ""',
        'return digest if approvals.digests else ""',
        WINDOW,
    ),
    Defect(
        "forgetting runs while they are within the window",
        "worker/engine/reconciler.py",
        "kept = max(keep, self._builder.window_length)",
        "kept = keep",
        WINDOW,
    ),
    Defect(
        "counting repairs in the limits",
        "worker/journal/queries.py",
        "recorded >= :since AND repair = 0",
        "recorded >= :since",
        WINDOW,
    ),
    Defect(
        "two clicks that leave one approval unused",
        "worker/web/actions.py",
        "if present.running and present.running.stage is Stage.CHANGING_MEMBERSHIPS:",
        "if False:",
        ("tests/web/test_actions.py",),
    ),
)
