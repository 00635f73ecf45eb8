"""The planted defects of a cluster: two processes write for one account.

Neighbours: `defects` says what a defect is.
"""

from tests.mutants.defects import Defect

FENCE = ("tests/journal/test_fence.py",)
CLAIMS = ("tests/journal/test_claims.py",)
QUEUE = ("tests/dispatch/test_job_queue_postgres.py",)
STALLS = ("tests/dispatch/test_stall_watch.py",)
MOVED_RATE = ("tests/engine/test_moved_rate_limit.py",)
SCHEDULE = ("tests/service/test_run_schedule.py",)
CONNECTION = ("tests/charge/test_secure_network.py",)
COMPOSITION = ("tests/service/test_composition.py",)
DEFAULTS = ("tests/service/test_cluster_defaults.py",)
COMMANDS = ("tests/accounts/test_commands_postgres.py",)
WORKER = ("tests/service/test_cluster_worker_postgres.py",)

DEFECTS = (
    Defect(
        "an account that kills worker after worker",
        "worker/dispatch/job_manager.py",
        "CASE WHEN failures < 3 THEN 0 ELSE least(300,",
        "CASE WHEN failures < 1000 THEN 0 ELSE least(300,",
        QUEUE,
    ),
    Defect(
        "a commit without the fence",
        "worker/journal/fenced_session.py",
        "            self._pass_fence(database)\n            self._make(database)",
        "            self._make(database)",
        FENCE,
    ),
    Defect(
        "keeping the number of an account whose first commit failed",
        "worker/journal/fenced_session.py",
        "        except BaseException:\n            self._number = 0\n            raise",
        "        except BaseException:\n            raise",
        FENCE,
    ),
    Defect(
        "heartbeats that wait for a connection of claims",
        "worker/service/cluster_worker.py",
        "claiming, beats=beats, worker",
        "claiming, worker",
        WORKER,
    ),
    Defect(
        "heartbeats that wait for requests, which wait for claims",
        "worker/service/cluster_worker.py",
        "                if not await to_thread.run_sync(self._claims",
        "                await self._request_runs()\n                if not await to_thread.run_sync(self._claims",
        WORKER,
    ),
    Defect(
        "taking the next run, which another worker began, for the one before",
        "worker/service/job_notifications.py",
        "before=own if recorded else None",
        "before=None",
        ("tests/service/test_job_notifications.py",),
    ),
    Defect(
        "lending a connection again that is in the middle of a transaction",
        "worker/journal/connection_pool.py",
        "self._raw.info.transaction_status != pq.TransactionStatus.IDLE",
        "self._raw.closed",
        FENCE,
    ),
    Defect(
        "a queue that takes no job until all runs have ended, because the database was away for a moment",
        "worker/dispatch/job_manager.py",
        "if isinstance(error.__cause__, psycopg.OperationalError):",
        "if False:",
        QUEUE,
    ),
    Defect(
        "keeping a job whose hand-out never arrived",
        "worker/dispatch/job_manager.py",
        "self._is_answer_lost = True  #",
        "self._is_answer_lost = False  #",
        QUEUE,
    ),
    Defect(
        "giving back the jobs of runs in progress",
        "worker/dispatch/job_manager.py",
        "running=sorted(self._running)",
        "running=[]",
        QUEUE,
    ),
    Defect(
        "a process that ends tries on and on to finish a job",
        "worker/dispatch/job_manager.py",
        "                if self.is_ending:",
        "                if False:",
        WORKER,
    ),
    Defect(
        "a process that ends tries on and on to release an account",
        "worker/service/cluster_run.py",
        "                if self.shutdown.reason is not None:  # the others",
        "                if False:  # the others",
        WORKER,
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
        "    SET LOCAL idle_in_transaction_session_timeout = 2500;\n",
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
        "            self._asked = asked",
        "            self._asked = asked = self.uptime()",
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
    Defect(
        "a shorter permit of a successor that hides the longer one of a predecessor",
        "worker/journal/cluster_queries.py",
        "permit_seconds = greatest(permit_seconds, :seconds)",
        "permit_seconds = :seconds",
        CLAIMS,
    ),
    Defect(
        "an account that is released as settled by a process that has not waited",
        "worker/journal/cluster_queries.py",
        "CASE WHEN CAST(:settled AS boolean) THEN 0 ELSE permit_seconds END",
        "0",
        CLAIMS,
    ),
    Defect(
        "a finish that frees the lock of whoever has the job",
        "worker/dispatch/job_manager.py",
        "WHERE id = %(job_id)s AND worker_id = %(worker_id)s AND",
        "WHERE id = %(job_id)s AND",
        QUEUE,
    ),
    Defect(
        "giving up a worker that has shown life meanwhile",
        "worker/dispatch/job_manager.py",
        "WHERE worker = %(worker)s AND beats = %(beats)s RETURNING",
        "WHERE worker = %(worker)s RETURNING",
        QUEUE,
    ),
    Defect(
        "queueing a run ahead of the one in progress",
        "worker/dispatch/job_manager.py",
        "WHERE procrastinate_jobs.lock = cluster_accounts.name)",
        "WHERE procrastinate_jobs.lock = cluster_accounts.name AND status = 'todo')",
        QUEUE,
    ),
    Defect(
        "letting what a dead worker left wait behind what is merely due",
        "worker/dispatch/job_manager.py",
        "            ) THEN 2147483647",
        "            ) THEN 0",
        QUEUE,
    ),
    Defect(
        "jobs in the order in which they were queued",
        "worker/dispatch/job_manager.py",
        "'run_account', priority, name",
        "'run_account', 0, name",
        QUEUE,
    ),
    Defect(
        "sending although the permit ended while the connection was made",
        "worker/charge/connection.py",
        "        if may_send is not None and not may_send():",
        "        if may_send is not None and False:",
        CONNECTION,
    ),
    Defect(
        "an account whose writes are not asked for a permit where they are sent",
        "worker/service/composition.py",
        "            may_write=journal.may_send,\n",
        "",
        COMPOSITION,
    ),
    Defect(
        "defaults of a cluster that are read while they are written",
        "worker/service/cluster_defaults.py",
        "        if self._seen != before:\n            return\n",
        "",
        DEFAULTS,
    ),
    Defect(
        "a command after which no worker looks at the account for an hour",
        "worker/service/cluster_command.py",
        "claims.Release(delay=0.0,",
        "claims.Release(delay=3600.0,",
        COMMANDS,
    ),
    Defect(
        "taking all workers for dead after an outage of the database",
        "worker/dispatch/stall_watch.py",
        "min(MOST_PER_CHECK, max(0.0, asked - self._checked))",
        "max(0.0, asked - self._checked)",
        STALLS,
    ),
    Defect(
        "sending while a predecessor may still send",
        "worker/service/cluster_run.py",
        "            await self._wait_for_predecessor()\n",
        "            pass\n",
        WORKER,
    ),
    Defect(
        "running two accounts with one key",
        "worker/service/cluster_run.py",
        "        if other is not None:\n",
        "        if other is not None and not other:\n",
        WORKER,
    ),
    Defect(
        "a burst with every move of an account",
        "worker/engine/rate_limiter.py",
        "        self._bucket.drain()\n        if closed_for > 0:",
        "        if closed_for > 0:",
        MOVED_RATE,
    ),
    Defect(
        "a pause of Charge that stays behind when the account moves",
        "worker/engine/rate_limiter.py",
        "            self._close(anyio.current_time(), closed_for)",
        "            pass",
        MOVED_RATE,
    ),
    Defect(
        "many accounts that wait longer than their interval after an outage",
        "worker/service/run_schedule.py",
        "            delay = min(delay, sync.interval_seconds)",
        "            delay += 0",
        SCHEDULE,
    ),
)
