"""The planted defects of a cluster: two processes write for one account.

Neighbours: `defects` says what a defect is.
"""

from tests.mutants.defects import Defect

FENCE = ("tests/journal/test_fence.py",)
CLAIMS = ("tests/journal/test_claims.py",)

DEFECTS = (
    Defect(
        "a commit without the fence",
        "worker/journal/fenced_session.py",
        "            self._pass_fence(database)\n            self._make(database)",
        "            self._make(database)",
        FENCE,
    ),
    Defect(
        "a fence that holds for every epoch",
        "worker/journal/cluster_queries.py",
        "WHERE name = :name AND epoch = :epoch FOR SHARE",
        "WHERE name = :name AND epoch >= :epoch FOR SHARE",
        FENCE,
    ),
    Defect(
        "a fence that locks nothing, so that a claim comes between",
        "worker/journal/cluster_queries.py",
        "AND epoch = :epoch FOR SHARE",
        "AND epoch = :epoch",
        FENCE,
    ),
    Defect(
        "a session in a stopped commit is never given up",
        "worker/journal/connection_pool.py",
        "    SET LOCAL idle_in_transaction_session_timeout = '{_IDLE}';\n",
        "",
        FENCE,
    ),
    Defect(
        "a claim that keeps the epoch",
        "worker/journal/cluster_queries.py",
        "SET epoch = epoch + 1, worker",
        "SET epoch = epoch, worker",
        (*FENCE, *CLAIMS),
    ),
    Defect(
        "a claim of what a living process has",
        "worker/journal/claims.py",
        'row["lives"] and not row["released"] and row["worker"] != self.worker',
        'False and row["worker"] != self.worker',
        CLAIMS,
    ),
    Defect(
        "a permit that is counted from the answer",
        "worker/journal/claims.py",
        "            rows = self._query(cluster_queries.BEAT, {})\n            self._asked = asked",
        "            rows = self._query(cluster_queries.BEAT, {})\n            self._asked = asked = self.uptime()",
        CLAIMS,
    ),
    Defect(
        "a permit for what another process has claimed",
        "worker/journal/claims.py",
        'permit is not None and permit.epoch == row["epoch"]',
        "permit is not None",
        CLAIMS,
    ),
    Defect(
        "a permit that outlives the release",
        "worker/journal/claims.py",
        '        claim.permit.until = -float("inf")  # nothing is sent after it\n',
        "",
        CLAIMS,
    ),
    Defect(
        "a permit that never ends",
        "worker/journal/claims.py",
        "return self.claims.uptime() < self.until",
        "return self.until > 0",
        (*FENCE, *CLAIMS),
    ),
)
