"""The SQL statements with which the workers of a cluster share its accounts. PostgreSQL only.

Invariant: no statement compares the clocks of two machines. The server's clock says only what is due, and a process is
taken for dead because its `beats` stay the same while another one watches. Neighbours: `claims` and `fenced_session`
run these, `queries` has the statements of an account, `versions/` makes the tables.
"""

FENCE = "SELECT name FROM cluster_accounts WHERE name = :name AND epoch = :epoch FOR SHARE"
"""First in every commit of a run. A claim waits until the commit is through, and no commit comes after the claim."""

REGISTER = "INSERT INTO cluster_workers (worker, queue_worker, version) VALUES (:worker, NULL, :version)"
UNREGISTER = "DELETE FROM cluster_workers WHERE worker = :worker"
BEAT = """
    WITH beat AS (UPDATE cluster_workers SET beats = beats + 1 WHERE worker = :worker RETURNING worker)
    SELECT name, epoch FROM beat LEFT JOIN cluster_accounts ON cluster_accounts.worker = beat.worker AND NOT released
"""
"""Proves that the process still has these accounts: what another one claimed before is not returned.

No row at all says that the others have given this process up.
"""

DUE = "(due_at <= now() OR due_at > now() + make_interval(secs => delay_seconds + 1))"
"""A run that is due later than any run was ever planned: the server's clock was set back."""

LOCK_ACCOUNT = f"""
    SELECT settings, epoch, worker, released, permit_seconds, due_at, {DUE} AS due, failures, last_success,
        least(closed_seconds, extract(epoch FROM closed_at - now()) + closed_seconds) AS closed_for,
        EXISTS (SELECT 1 FROM cluster_workers WHERE cluster_workers.worker = cluster_accounts.worker) AS lives
    FROM cluster_accounts WHERE name = :name FOR UPDATE
"""  # noqa: S608 - a constant
CLAIM = """
    UPDATE cluster_accounts SET epoch = epoch + 1, worker = :worker, released = false,
        permit_seconds = greatest(permit_seconds, :seconds)
    WHERE name = :name
"""
"""The longest permit counts: the owner before the last one may still have it, and settings may have changed."""

RELEASE = """
    UPDATE cluster_accounts SET released = true,
        permit_seconds = CASE WHEN CAST(:settled AS boolean) THEN 0 ELSE permit_seconds END,
        failures = :failures, broken = coalesce(:broken, broken),
        condition = coalesce(:condition, condition), gist = coalesce(:gist, gist),
        closed_at = now(), closed_seconds = :closed_for,
        last_success = CASE WHEN CAST(:succeeded AS boolean) THEN now() ELSE last_success END,
        delay_seconds = :delay,
        due_at = CASE WHEN due_at = :due_at THEN now() + make_interval(secs => :delay) ELSE due_at END
    WHERE name = :name AND epoch = :epoch
"""
"""A request that came during the run has changed `due_at`, and is kept."""

REQUEST_RUN = "UPDATE cluster_accounts SET due_at = now() WHERE name = :name"
DIGEST_KEY = "SELECT secret FROM cluster_secret"
KEEP_KEY = "UPDATE cluster_accounts SET key_digest = :digest WHERE name = :name AND epoch = :epoch"
LEAVE_KEY = "UPDATE cluster_accounts SET key_digest = NULL WHERE name = :name AND epoch = :epoch"
OWNER_OF_KEY = "SELECT name FROM cluster_accounts WHERE key_digest = :digest"
ONE_KEY_AT_A_TIME = "SELECT one FROM cluster_secret FOR UPDATE"
STATUSES = "SELECT name, condition, gist, broken, last_success FROM cluster_accounts"
LIVING = "SELECT count(*) AS number FROM cluster_workers"

IS_SHARED = "SELECT name FROM cluster_accounts WHERE name = :name"
"""Whether an account is one of the cluster: then only the process that claims it may write to its journal."""
