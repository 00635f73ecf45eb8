"""Planted defects of the pure decisions: what is planned, detached and held.

Invariant: as in `defects`. Neighbours: `every_defect` names the modules that have the others; `__main__` plants all.
"""

from tests.mutants.defects import READER, Defect

PLANNER = ("tests/core/test_planner.py", "tests/core/test_planner_stories.py")

DEFECTS = (
    Defect(
        "forgetting whom a reference led to",
        "worker/core/planning/resolved_rows.py",
        "before=_driver_before(reference, remembered)",
        "before=None",
        PLANNER,
    ),
    Defect(
        "leaving open what an earlier life left open",
        "worker/core/planning/observation.py",
        "if fleets is not None and change.done_in(fleets):",
        "if False and fleets is not None and change.done_in(fleets):",
        ("tests/core", "tests/engine/test_reconciler.py"),
    ),
    Defect(
        "believing a listing that was cut short",
        "worker/core/planning/inventory.py",
        "(TOLERANCE * fleet.total_drivers if final else 0)",
        "fleet.total_drivers",
        (*READER, "tests/core/test_inventory.py"),
    ),
    Defect(
        "detaching from a fleet whose listing is incomplete",
        "worker/core/planning/planner.py",
        "exact - resolved.unclear - actual.incomplete.keys()",
        "exact - resolved.unclear",
        PLANNER,
    ),
    Defect(
        "taking a reference that led nowhere for nobody",
        "worker/core/planning/planner.py",
        "exact - resolved.unclear - actual.incomplete.keys()",
        "exact - actual.incomplete.keys()",
        PLANNER,
    ),
    Defect(
        "detaching from fleets that nobody manages",
        "worker/core/planning/planner.py",
        "for fleet in fleets & shrinkable:",
        "for fleet in fleets:",
        PLANNER,
    ),
    Defect(
        "wanting a driver where a row by id says so, when another row leads to the driver too",
        "worker/core/planning/resolved_rows.py",
        "        special |= meant\n",
        "",
        PLANNER,
    ),
    Defect(
        "taking two references to one fleet for two memberships",
        "worker/core/planning/resolved_rows.py",
        "return found if len(found) == len(references) else None",
        "return found",
        PLANNER,
    ),
    Defect(
        "dropping the name of a driver who will have a change",
        "worker/core/planning/expected_drivers.py",
        "and wanted[references] == shown & managed and",
        "and",
        ("tests/core/test_expected_drivers.py",),
    ),
    Defect(
        "taking rows of one fleet for those of another where sources are joined",
        "worker/core/model/rows.py",
        "map(fleets.__getitem__, other._fleet_of)",
        "other._fleet_of",
        ("tests/core/test_rows.py",),
    ),
    Defect(
        "detaching in additive mode",
        "worker/core/planning/planner.py",
        "if stated.get(fleet, mode) is Mode.EXACT})",
        "})",
        PLANNER,
    ),
    Defect(
        "`until` inclusive",
        "worker/core/model/desired.py",
        "self.ends <= now",
        "self.ends < now",
        PLANNER,
    ),
    Defect(
        "taking KELVIN SIGN for a k",
        "worker/core/planning/references.py",
        "return text.lower() if text.isascii() else text.translate(_LOWER)",
        "return text.lower()",
        ("tests/core/test_references.py",),
    ),
    Defect(
        "detaching a driver whom a mistyped reference may mean",
        "worker/core/planning/resolver.py",
        """{suggestion}", tuple(sorted(near)))""",
        """{suggestion}")""",
        ("tests/core/test_near_misses.py",),
    ),
    Defect(
        "forgetting what was detached within the window",
        "worker/core/safety/window.py",
        "total, before = recent.count(self.action) + due, recent.members_before(members)",
        "total, before = due, recent.members_before(members)",
        ("tests/core/test_window.py",),
    ),
    Defect(
        "taking drivers attached within the window for members at its beginning",
        "worker/core/safety/window.py",
        "members + self.count(Action.DETACH) - self.count(Action.ATTACH, approved=True)",
        "members + self.count(Action.DETACH)",
        ("tests/core/test_window.py",),
    ),
    Defect(
        "counting approved detaches",
        "worker/core/safety/window.py",
        "if each.action is action and (approved or not each.approved))",
        "if each.action is action)",
        ("tests/core/test_window.py",),
    ),
    Defect(
        "following a name to another fleet",
        "worker/core/safety/guard.py",
        "by_fleet = {change: reasons[change.fleet] for change in case.plan.changes if change.fleet in reasons}",
        "by_fleet = dict[Change, str]()",
        ("tests/core/test_guard_memory.py",),
    ),
    Defect(
        "emptying a fleet",
        "worker/core/safety/guard.py",
        "if due[change.fleet] + delayed >= members:",
        "if due[change.fleet] + delayed > members:",
        ("tests/core/test_guard.py",),
    ),
    Defect(
        "emptying a fleet in instalments",
        "worker/core/safety/guard.py",
        "if due[change.fleet] + delayed >= members:",
        "if due[change.fleet] >= members:",
        ("tests/core/test_grace_period.py",),
    ),
    Defect(
        "a grace that begins anew at every doubt",
        "worker/core/planning/grace_period.py",
        "known.keys() - absent.keys() - plan.unjudged",
        "known.keys() - absent.keys()",
        ("tests/core/test_grace_period.py", "tests/engine/test_grace.py"),
    ),
    Defect(
        "detaches of somebody whose attach is frozen",
        "worker/core/safety/flap_detection.py",
        "return followers | stopped",
        "return stopped",
        ("tests/core/test_flap_detection.py",),
    ),
    Defect(
        "detaches of somebody whose attach is postponed",
        "worker/core/safety/attach_first.py",
        "if change.action is Action.DETACH and change.driver in missing",
        "if False and change.driver in missing",
        ("tests/engine/test_refusal_backoff.py",),
    ),
    Defect(
        "an approval that lets held changes through all day",
        "worker/core/model/plan.py",
        "return self.approval if not self.approved_changes.isdisjoint(changes) else None",
        "return None",
        ("tests/engine/test_approvals.py", "tests/engine/test_flapping.py"),
    ),
)
