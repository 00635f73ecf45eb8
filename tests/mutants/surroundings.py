"""Defects in how runs treat what surrounds them: the journal's reach and owner, and the clock.

Invariant: as in `defects`. Neighbours: `defects` and `former_survivors` have the others; `__main__` plants them.
"""

from tests.mutants.defects import Defect

SCHEDULER = ("tests/service/test_scheduler.py",)
OWNERSHIP = ("tests/engine/test_ownership.py",)

DEFECTS = (
    Defect(
        "growing pauses while the journal cannot be reached",
        "worker/service/scheduler.py",
        "isinstance(finished.error, JournalError) and finished.traffic == Traffic()",
        "False and finished.traffic == Traffic()",
        SCHEDULER,
    ),
    Defect(
        "reading Charge every ten seconds while the journal is broken",
        "worker/service/scheduler.py",
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
        "worker/engine/reconciler.py",
        "await self._builder.ownership.claim(actual, saved_names=saved.fleet_names)",
        "await self._builder.ownership.check_account()",
        OWNERSHIP,
    ),
)
