"""Defects in how runs treat what surrounds them: the journal's reach and owner, and the clock.

Invariant: as in `defects`. Neighbours: `defects` and `former_survivors` have the others; `__main__` plants them.
"""

from tests.mutants.defects import Defect

SCHEDULER = ("tests/service/test_scheduler.py",)
OWNERSHIP = ("tests/engine/test_ownership.py",)
SQLITE = ("tests/journal/test_sqlite.py",)
CLOCK = ("tests/engine/test_clock.py", "tests/core/test_clock_trust.py")

DEFECTS = (
    Defect(
        "taking a log that was moved in part for a truncated journal",
        "worker/journal/sqlite_file.py",
        "whole if frames == moved else min(whole, self._size)",
        "whole",
        SQLITE,
    ),
    Defect(
        "missing a truncation while the log is not moved",
        "worker/journal/sqlite_file.py",
        "whole if frames == moved else min(whole, self._size)",
        "whole if frames == moved else 0",
        SQLITE,
    ),
    Defect(
        "growing pauses while the journal cannot be reached",
        "worker/service/run_schedule.py",
        "isinstance(finished.error, JournalError) and finished.traffic == Traffic()",
        "False and finished.traffic == Traffic()",
        SCHEDULER,
    ),
    Defect(
        "reading Charge every ten seconds while the journal is broken",
        "worker/service/run_schedule.py",
        "isinstance(finished.error, JournalError) and finished.traffic == Traffic()",
        "isinstance(finished.error, JournalError) and Traffic()",
        SCHEDULER,
    ),
    Defect(
        "adopting journals for as long as the service runs",
        "worker/service/scheduler.py",
        "self.account.adopt_journal(allowed=False)",
        "self.account.adopt_journal(allowed=True)",
        SCHEDULER,
    ),
    Defect(
        "applying a saved plan without claiming the journal",
        "worker/engine/plan_builder.py",
        "await self.ownership.claim(actual, managed=managed, saved_names=saved.fleet_names)",
        "await self.ownership.check_account()",
        OWNERSHIP,
    ),
    Defect(
        "believing any clock",
        "worker/core/safety/clock_trust.py",
        "if abs(ahead) <= TOLERANCE:",
        "if abs(ahead) <= TOLERANCE or stated:",
        CLOCK,
    ),
    Defect(
        "believing the newest stated time alone",
        "worker/core/safety/clock_trust.py",
        "ahead = -_median([_charge_ahead(each, present) for each in stated])",
        "ahead = -_median([_charge_ahead(each, present) for each in stated[-1:]])",
        CLOCK,
    ),
    Defect(
        "believing the older of two stated times",
        "worker/core/safety/clock_trust.py",
        "[len(differences) // 2]",
        "[(len(differences) - 1) // 2]",
        CLOCK,
    ),
    Defect(
        "comparing a stated time without the time since",
        "worker/core/safety/clock_trust.py",
        "each.time - present.now + datetime.timedelta(seconds=present.uptime - each.uptime)",
        "each.time - present.now",
        CLOCK,
    ),
    Defect(
        "believing a clock behind the journal",
        "worker/core/safety/clock_trust.py",
        "newest_entry is not None and newest_entry - present.now > TOLERANCE",
        "False and newest_entry is not None and newest_entry - present.now > TOLERANCE",
        CLOCK,
    ),
    Defect(
        "believing a clock that was set during the run",
        "worker/core/safety/clock_trust.py",
        "ahead = (present.now - began.now) - datetime.timedelta(seconds=present.uptime - began.uptime)",
        "ahead = datetime.timedelta()",
        CLOCK,
    ),
    Defect(
        "detaches by a clock that is not trusted",
        "worker/core/safety/clock_trust.py",
        "changes=tuple(change for change in plan.changes if not is_forbidden(change)),",
        "changes=plan.changes,",
        CLOCK,
    ),
    Defect(
        "rows with dates by a clock that is not trusted",
        "worker/engine/plan_builder.py",
        "now = clock.now if clock.trusted else None",
        "now = clock.now",
        CLOCK,
    ),
    Defect(
        "overlooking that a reference moved, by a clock that is not trusted",
        "worker/core/planning/resolved_rows.py",
        "special_rows = sorted(rows.at(rows.referring(special)), key=lambda row: row.origin)",
        "special_rows = sorted(rows.at(rows.referring(special)), key=lambda row: row.origin)\n"
        "        if now is None:\n"
        "            drivers = {each: answer for each, answer in drivers.items() if isinstance(each, DriverById)}\n"
        "            special_rows = [row for row in special_rows if row.driver in drivers]",
        CLOCK,
    ),
    Defect(
        "ending grace periods by a clock that is not trusted",
        "worker/engine/plan_builder.py",
        "if not clock.trusted:  # nor",
        "if False:  # nor",
        CLOCK,
    ),
    Defect(
        "using approvals by a clock that is not trusted",
        "worker/engine/guard_memory.py",
        "if not clock.trusted or not self._applies:",
        "if not self._applies:",
        CLOCK,
    ),
    Defect(
        "learning references from a plan without detaches",
        "worker/core/safety/clock_trust.py",
        "later=frozenset((change.driver, change.fleet) for change in plan.changes if is_forbidden(change)),",
        "later=frozenset(),",
        ("tests/engine/test_clock.py",),
    ),
    Defect(
        "a window of limits by a clock that is ahead",
        "worker/engine/plan_builder.py",
        "records=records, now=clock.earliest",
        "records=records, now=clock.now",
        CLOCK,
    ),
    Defect(
        "exit code 0 by a clock that is not trusted",
        "worker/engine/guarded_plans.py",
        "plan.unsettled or not clock.trusted",
        "plan.unsettled",
        CLOCK,
    ),
    Defect(
        "pruning by a clock that is not trusted",
        "worker/engine/reconciler.py",
        "run_report.error is None and self._wall_clock.assess().trusted",
        "run_report.error is None",
        CLOCK,
    ),
    Defect(
        "pruning by a clock that was not compared",
        "worker/engine/reconciler.py",
        "run_report.error is None and self._wall_clock.assess().trusted",
        "self._wall_clock.assess().trusted",
        CLOCK,
    ),
    Defect(
        "taking an unclear write for not made by a wrong clock",
        "worker/engine/reconciler.py",
        "late_effects = datetime.timedelta.max  #",
        "pass  #",
        CLOCK,
    ),
    Defect(
        "applying a saved plan by a clock that is not trusted",
        "worker/engine/plan_builder.py",
        "{**unclear.waiting, **clock_trust.forbidden(guarded, clock)}",
        "unclear.waiting",
        CLOCK,
    ),
    Defect(
        "going on after the clock was set",
        "worker/engine/membership_writer.py",
        "        self._wall_clock.check(change, dated=change in self._dated)\n",
        "",
        CLOCK,
    ),
    Defect(
        "saying nothing of a clock that was set during the run",
        "worker/engine/reconciler.py",
        "problems = (*problems, clock.problem)",
        "problems = (*problems,)",
        CLOCK,
    ),
    Defect(
        "believing the time of a stored reply",
        "worker/charge/client.py",
        'if method == "GET":',
        "if method:",
        ("tests/charge/test_client.py",),
    ),
    Defect(
        "a page that does not show a wrong clock",
        "worker/service/state.py",
        "if wrong:",
        "if False and wrong:",
        ("tests/service/test_state.py",),
    ),
)
