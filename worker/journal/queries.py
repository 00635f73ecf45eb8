"""The SQL statements of the journal, the same for SQLite and PostgreSQL.

`:name` is a parameter, and `json_rows(:rows)` a table with one column `value`: the objects of a JSON array;
`connection` translates both. Invariant: every statement names the account, whose number is always bound. Neighbours:
`row_codec` writes and reads the rows, `versions/` makes the tables.
"""

import re

# --- Making the journal -----------------------------------------------------------------------------------

VERSION = "SELECT max(version) AS version FROM schema_version"
SET_VERSION = "UPDATE schema_version SET version = :version"
ACCOUNT = "SELECT account FROM accounts WHERE name = :name"
ADD_ACCOUNT = """
    INSERT INTO accounts (account, name) SELECT coalesce(max(account), 0) + 1, :name FROM accounts WHERE true
    ON CONFLICT DO NOTHING
"""
PROBE = "DELETE FROM approvals WHERE digest IS NULL"
"""Needs the right to write, and writes nothing."""

_LOCK = "CAST(CAST(CAST('accounts' AS regclass) AS oid) AS int4), CAST(:account AS int4)"
TRY_LOCK = f"SELECT pg_try_advisory_lock({_LOCK}) AS locked"
LOCK_HOLDER = """
    SELECT application_name AS name, backend_start AS since FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = CAST(CAST('accounts' AS regclass) AS oid) AND objid = CAST(:account AS oid)
"""

# --- Whose it is ------------------------------------------------------------------------------------------

OWNER = "SELECT base_url, mode, learned_rate, learned FROM accounts WHERE account = :account AND base_url IS NOT NULL"
SET_OWNER = """
    UPDATE accounts SET base_url = :base_url, mode = :mode, learned_rate = NULL, learned = NULL
    WHERE account = :account
"""
KEEP_LEARNED_RATE = "UPDATE accounts SET learned_rate = :rate, learned = :finished WHERE account = :account"
FLEETS = "SELECT fleet, name, managed FROM fleets WHERE account = :account"
KEEP_FLEETS = """
    INSERT INTO fleets (account, fleet, name, managed)
    SELECT CAST(:account AS INTEGER), value ->> 'fleet', value ->> 'name', CAST(value ->> 'managed' AS INTEGER)
    FROM json_rows(:rows) WHERE true
    ON CONFLICT (account, fleet) DO UPDATE SET name = excluded.name, managed = excluded.managed
"""
FORGET_FLEETS = "DELETE FROM fleets WHERE account = :account"

# --- A run ------------------------------------------------------------------------------------------------

KEEP_LISTS = """
    INSERT INTO lists (account, name, content)
    SELECT CAST(:account AS INTEGER), value ->> 'name', value ->> 'content' FROM json_rows(:rows) WHERE true
    ON CONFLICT DO NOTHING
"""
ADD_RUN = """
    INSERT INTO runs (account, number, run, epoch, "trigger", started, finished, result, exit_code, outcomes,
        plan, plan_lists, report, report_lists)
    SELECT CAST(:account AS INTEGER), coalesce(max(number), 0) + 1, :run, :epoch, :trigger, :started, :finished,
        :result, :exit_code, :outcomes, :plan, :plan_lists, :report, :report_lists
    FROM runs WHERE account = :account
"""
FINISH_RUN = """
    UPDATE runs SET started = :started, finished = :finished, result = :result, exit_code = :exit_code,
        outcomes = :outcomes, plan = coalesce(:plan, plan), plan_lists = coalesce(:plan_lists, plan_lists),
        report = :report, report_lists = :report_lists
    WHERE account = :account AND run = :run AND finished IS NULL
"""
ADD_INTENTS = """
    INSERT INTO intents (account, run_number, position, key, recorded, action, driver, fleet, origin, fingerprint,
        approved, repair, resent)
    SELECT CAST(:account AS INTEGER), (SELECT number FROM runs WHERE account = :account AND run = :run),
        CAST(value ->> 'position' AS INTEGER), value ->> 'key', :recorded, value ->> 'action', value ->> 'driver',
        value ->> 'fleet', value ->> 'origin', value ->> 'fingerprint', CAST(value ->> 'approved' AS INTEGER),
        CAST(:repair AS INTEGER), 0
    FROM json_rows(:rows)
"""
MARK_RESENT = """
    UPDATE intents SET resent = 1
    WHERE account = :account AND intents.key IN (SELECT value ->> 'key' FROM json_rows(:rows))
"""
RECORD = """
    UPDATE intents SET outcome = value ->> 'outcome',
        settled = CASE WHEN settled IS NULL OR value ->> 'outcome' = 'unknown' THEN :settled ELSE settled END,
        attempts = CAST(value ->> 'attempts' AS INTEGER), request_id = value ->> 'request_id', code = value ->> 'code',
        message = value ->> 'message'
    FROM json_rows(:rows)
    WHERE intents.account = CAST(value ->> 'account' AS INTEGER) AND intents.key = value ->> 'key'
    AND (outcome IS NULL OR outcome = 'unknown' OR value ->> 'outcome' = 'unknown')
"""
"""Fills in outcomes that are missing or unknown. An unknown outcome may replace any other.

Each row carries the account: with a parameter, SQLite would read the whole group again for every intent of the account.
`settled` stays the time of the last attempt where a later reading decides: pauses after refusals count from there.
"""
OUTCOMES = """
    SELECT key, outcome, attempts, request_id, code, message FROM intents
    WHERE account = :account AND intents.key IN (SELECT value ->> 'key' FROM json_rows(:rows))
"""
OPEN_INTENTS = """
    SELECT intents.*, runs.run FROM intents
    JOIN runs ON runs.account = intents.account AND runs.number = intents.run_number
    WHERE intents.account = :account AND (intents.outcome IS NULL OR intents.outcome = 'unknown')
    ORDER BY intents.run_number + 0, intents.position
"""
"""Without the sum, SQLite would read all intents in this order, and not the index of the open ones. So it is below."""

# --- What runs remember -----------------------------------------------------------------------------------

APPROVE = """
    INSERT INTO approvals (account, digest, approved, approved_by, until)
    VALUES (:account, :digest, :approved, :approved_by, :until)
    ON CONFLICT (account, digest) DO UPDATE SET approved = excluded.approved, approved_by = excluded.approved_by,
        until = excluded.until, used_by = NULL
"""
APPROVALS = """
    SELECT digest FROM approvals
    WHERE account = :account AND approved <= :now AND until > :now AND used_by IS NULL
"""
"""An approval that is dated in the future is the work of a clock that was wrong, and allows nothing."""
USE_APPROVAL = """
    UPDATE approvals SET used_by = :run WHERE account = :account AND digest = :digest AND used_by IS NULL
"""
"""By whatever clock, so that it is certainly used up."""
KEEP_APPROVAL = """
    UPDATE runs SET approval = :digest,
        (approved_by, approved) = (
            SELECT approved_by, approved FROM approvals
            WHERE account = :account AND digest = :digest AND used_by = :run AND until > :now
        )
    WHERE account = :account AND run = :run
"""
"""Keeps an approval with the run that used it up: approving the same digest again overwrites it in `approvals`.

An expired approval is not kept: the person who began the run approved its changes again.
"""
ADD_USED_APPROVAL = """
    INSERT INTO approvals (account, digest, approved, approved_by, until, used_by)
    VALUES (:account, :digest, :now, '', :now, :run)
    ON CONFLICT (account, digest) DO UPDATE SET approved = excluded.approved, approved_by = excluded.approved_by,
        until = excluded.until, used_by = excluded.used_by
"""
"""An approval that was given with the run itself: it expires at once."""
KEEP_SOURCE_APPROVAL = """
    UPDATE runs SET (approval, approved_by, approved) = (
        SELECT digest, CASE WHEN until > :now THEN approved_by END, CASE WHEN until > :now THEN approved END
        FROM approvals WHERE account = :account AND used_by = :run
        ORDER BY approved DESC LIMIT 1
    )
    WHERE account = :account AND run = :run AND approval IS NULL
"""
"""Keeps the approval of a source that lost rows: a run uses it up before it has a row, and may have no changes."""
RESOLUTIONS = "SELECT reference, target FROM resolutions WHERE account = :account"
REMEMBER = """
    INSERT INTO resolutions (account, reference, target, remembered)
    SELECT CAST(:account AS INTEGER), value ->> 'reference', value ->> 'target', :remembered
    FROM json_rows(:rows) WHERE true
    ON CONFLICT (account, reference) DO UPDATE SET target = excluded.target, remembered = excluded.remembered
"""
NEWEST_ENTRY = """
    SELECT started, finished,
        (SELECT max(recorded) FROM intents WHERE intents.account = runs.account AND run_number = number) AS recorded,
        (SELECT max(settled) FROM intents WHERE intents.account = runs.account AND run_number = number) AS settled
    FROM runs WHERE account = :account ORDER BY started DESC LIMIT 1
"""
ABSENCES = "SELECT driver, fleet, since FROM absences WHERE account = :account"
ADD_ABSENCES = """
    INSERT INTO absences (account, driver, fleet, since)
    SELECT CAST(:account AS INTEGER), value ->> 'driver', value ->> 'fleet', :since FROM json_rows(:rows)
"""
END_ABSENCES = """
    DELETE FROM absences WHERE account = :account
    AND (driver, fleet) IN (SELECT value ->> 'driver', value ->> 'fleet' FROM json_rows(:rows))
"""
SOURCES = "SELECT source, counts, fleets, version FROM sources WHERE account = :account"
KEEP_SOURCES = """
    INSERT INTO sources (account, source, counts, fleets, version)
    SELECT CAST(:account AS INTEGER), value ->> 'source', value ->> 'counts', value ->> 'fleets', value ->> 'version'
    FROM json_rows(:rows) WHERE true
    ON CONFLICT (account, source)
    DO UPDATE SET counts = excluded.counts, fleets = excluded.fleets, version = excluded.version
"""
UNCONFIRMED = """
    SELECT intents.action, intents.driver, intents.fleet, intents.outcome, intents.code
    FROM intents JOIN runs ON runs.account = intents.account AND runs.number = intents.run_number
    WHERE intents.account = :account AND runs.started >= :since AND intents.outcome IS NOT NULL
    AND intents.driver IN (SELECT driver FROM intents WHERE account = :account AND code = 'not_converging')
    ORDER BY intents.run_number + 0, intents.position
"""
"""The code is not a parameter: with one, SQLite would not use the partial index."""
REFUSALS = """
    SELECT action, driver, fleet, fingerprint, settled, outcome, code, message, request_id FROM intents
    WHERE account = :account AND (outcome IN ('applied', 'already', 'refused') OR code = 'not_converging')
    AND driver IN (SELECT value ->> 'driver' FROM json_rows(:rows))
    ORDER BY run_number + 0, position
"""
RECENT = """
    SELECT fleet, action, recorded, approved, count(*) AS number FROM intents
    WHERE account = :account AND recorded >= :since AND repair = 0
    AND (outcome IS NULL OR outcome IN ('applied', 'unknown'))
    GROUP BY run_number, fleet, action, recorded, approved ORDER BY run_number, fleet, action, approved
"""
LATEST = """
    SELECT driver, fleet, action, fingerprint, recorded, started FROM (
        SELECT intents.driver, intents.fleet, intents.action, intents.fingerprint, intents.recorded, runs.started,
            row_number() OVER (
                PARTITION BY intents.driver, intents.fleet ORDER BY intents.run_number DESC, intents.position DESC
            ) AS place
        FROM intents JOIN runs ON runs.account = intents.account AND runs.number = intents.run_number
        WHERE intents.account = :account AND intents.outcome = 'applied'
        AND intents.driver IN (SELECT value ->> 'driver' FROM json_rows(:rows))
    ) AS newest
    WHERE place <= :most ORDER BY driver, fleet, place
"""

# --- Pauses -----------------------------------------------------------------------------------------------

_PAUSE = "number, fleet, since, until, reason, paused_by"
_IN_FORCE = "account = :account AND ended IS NULL AND (until IS NULL OR until > :now)"
PAUSES = f"SELECT {_PAUSE} FROM pauses WHERE {_IN_FORCE} ORDER BY number"  # noqa: S608
PAUSE = """
    INSERT INTO pauses (account, number, fleet, since, until, reason, paused_by)
    SELECT CAST(:account AS INTEGER), coalesce(max(number), 0) + 1, :fleet, :now, :until, :reason, :by
    FROM pauses WHERE account = :account
"""
RESUME = f"""
    UPDATE pauses SET ended = :now, ended_by = :by WHERE {_IN_FORCE} AND fleet = coalesce(:fleet, fleet)
    RETURNING {_PAUSE}
"""  # noqa: S608

# --- Names ------------------------------------------------------------------------------------------------

KEEP_NAMES = """
    INSERT INTO names (account, driver, name, email, folded_name, folded_email, seen)
    SELECT CAST(:account AS INTEGER), value ->> 'driver', value ->> 'name', value ->> 'email',
        value ->> 'folded_name', value ->> 'folded_email', :seen
    FROM json_rows(:rows) WHERE true
    ON CONFLICT (account, driver) DO UPDATE SET name = excluded.name, email = excluded.email,
        folded_name = excluded.folded_name, folded_email = excluded.folded_email, seen = excluded.seen
    WHERE names.name <> excluded.name OR names.email <> excluded.email OR names.seen < :today
"""
"""Writes a name that has not changed once a day: what is held is kept in every run."""
NAMES = """
    SELECT driver AS id, CASE WHEN name = '' THEN email ELSE name END AS name FROM names
    WHERE account = :account AND driver IN (SELECT value ->> 'id' FROM json_rows(:rows))
    UNION ALL SELECT fleet, name FROM fleets
    WHERE account = :account AND fleet IN (SELECT value ->> 'id' FROM json_rows(:rows))
"""
DRIVERS_CALLED = """
    SELECT driver FROM names WHERE account = :account AND (folded_name = :folded OR folded_email = :folded)
    ORDER BY driver
"""
DRIVERS_NAMED = """
    SELECT driver FROM names WHERE account = :account
    AND (folded_name LIKE :pattern ESCAPE '!' OR folded_email LIKE :pattern ESCAPE '!')
    ORDER BY folded_name, folded_email, driver LIMIT :limit
"""
DRIVERS_REFERRED_TO = """
    SELECT target FROM resolutions
    WHERE account = :account AND reference = :reference AND substr(target, 1, 4) = 'drv_'
"""
DELETE_NAMES = "DELETE FROM names WHERE account = :account AND seen < :before"

# --- Forgetting -------------------------------------------------------------------------------------------

FORGOTTEN = "SELECT driver, digest FROM forgotten WHERE account = :account"
FORGET = """
    INSERT INTO forgotten (account, driver, digest, forgotten, purged)
    SELECT CAST(:account AS INTEGER), value ->> 'driver', value ->> 'digest', :now, 0 FROM json_rows(:rows) WHERE true
    ON CONFLICT DO NOTHING
"""
UNPURGED = "SELECT count(*) AS number FROM forgotten WHERE account = :account AND purged = 0"
MARK_PURGED = "UPDATE forgotten SET purged = 1 WHERE account = :account"
DELETE_NAME = "DELETE FROM names WHERE account = :account AND driver = :driver RETURNING name, email"
DELETE_REFERENCES = """
    DELETE FROM resolutions WHERE account = :account AND target = :driver AND replace(reference, '@', '') <> reference
    RETURNING reference
"""
LISTS_WITH = "SELECT name, content FROM lists WHERE account = :account AND lower(content) LIKE :pattern ESCAPE '!'"
REPLACE_LIST = "UPDATE lists SET content = :content WHERE account = :account AND name = :name"
RUNS_WITH = """
    SELECT number, plan, report FROM runs WHERE account = :account
    AND (lower(plan) LIKE :pattern ESCAPE '!' OR lower(report) LIKE :pattern ESCAPE '!')
"""
REPLACE_DOCUMENTS = "UPDATE runs SET plan = :plan, report = :report WHERE account = :account AND number = :number"
MESSAGES = "SELECT key, message FROM intents WHERE account = :account AND message IS NOT NULL AND message <> ''"
REPLACE_MESSAGE = "UPDATE intents SET message = :message WHERE account = :account AND key = :key"

# --- Deleting old runs ------------------------------------------------------------------------------------

OLD_RUNS = """
    SELECT number FROM runs
    WHERE account = :account AND started < :before AND (finished IS NULL OR finished < :before)
    AND NOT EXISTS (
        SELECT 1 FROM intents WHERE intents.account = runs.account AND run_number = number
        AND (outcome IS NULL OR outcome = 'unknown')
    )
"""
_OLD = "(SELECT CAST(value ->> 'number' AS INTEGER) FROM json_rows(:rows))"
DELETE_INTENTS = f"DELETE FROM intents WHERE account = :account AND run_number IN {_OLD}"  # noqa: S608
DELETE_RUNS = f"DELETE FROM runs WHERE account = :account AND number IN {_OLD}"  # noqa: S608
DELETE_LISTS = """
    DELETE FROM lists WHERE account = :account AND name NOT IN (
        SELECT plan_lists FROM runs WHERE account = :account AND plan_lists IS NOT NULL
        UNION SELECT report_lists FROM runs WHERE account = :account AND report_lists IS NOT NULL
    )
"""
DELETE_APPROVALS = "DELETE FROM approvals WHERE account = :account AND until < :before"

# --- Looking things up ------------------------------------------------------------------------------------

_RUNS = """
    SELECT number, run, "trigger", started, finished, result, exit_code, outcomes, approval, approved_by, approved
    FROM runs WHERE account = :account
"""
_RUN_FILTERS = {
    "before": "AND (started, number) < (SELECT started, number FROM runs WHERE account = :account AND run = :before)",
    "result": "AND result = :result",
}
RUNS_AFTER = f"""{_RUNS}
    AND number > coalesce((SELECT number FROM runs WHERE account = :account AND run = :run), 0)
    ORDER BY number LIMIT :limit
"""  # noqa: S608 - constants
RUN = f"{_RUNS} AND run = :run"
RUN_IDS = """
    SELECT run FROM runs WHERE account = :account AND substr(run, 1, :length) = :beginning ORDER BY run LIMIT :limit
"""
"""LIKE would take `_` for any character, and SQLite's would ignore case."""
OUTCOME_COUNTS = """
    SELECT outcome, count(*) AS number FROM intents
    WHERE account = :account AND run_number = :number AND outcome IS NOT NULL GROUP BY outcome
"""
CHANGES_A_DAY = """
    SELECT substr(runs.started, 1, 10) AS day, intents.outcome, count(*) AS number
    FROM runs JOIN intents ON intents.account = runs.account AND intents.run_number = runs.number
    WHERE runs.account = :account AND runs.started >= :since AND intents.outcome IS NOT NULL
    GROUP BY substr(runs.started, 1, 10), intents.outcome
"""
DOCUMENTS = """
    SELECT plan, planned.content AS plan_lists, report, reported.content AS report_lists FROM runs
    LEFT JOIN lists AS planned ON planned.account = runs.account AND planned.name = plan_lists
    LEFT JOIN lists AS reported ON reported.account = runs.account AND reported.name = report_lists
    WHERE runs.account = :account AND run = :run
"""
RUN_INTENTS = """
    SELECT action, driver, fleet, origin, repair, outcome, attempts, request_id, code, message FROM intents
    WHERE account = :account AND run_number = (SELECT number FROM runs WHERE account = :account AND run = :run)
    ORDER BY position
"""
_CHANGES = """
    SELECT intents.*, runs.run, runs."trigger" FROM intents
    JOIN runs ON runs.account = intents.account AND runs.number = intents.run_number
    WHERE intents.account = :account
"""


def runs(*filters: str) -> str:
    """Return the statement that selects runs by these of before and result; the newest come first."""
    return " ".join((_RUNS, *map(_RUN_FILTERS.__getitem__, filters), "ORDER BY started DESC, number DESC LIMIT :limit"))


def changes(*filters: str) -> str:
    """Return the statement that selects writes by these of run, driver and fleet; the newest come first."""
    wanted = " ".join(f"AND {each} = :{each}" for each in filters)
    return f"{_CHANGES} {wanted} ORDER BY intents.run_number DESC, intents.position DESC LIMIT :limit"


def containing(text: str) -> str:
    """Return the pattern of texts that contain this one, for `LIKE :pattern ESCAPE '!'`."""
    return "%" + re.sub("[!%_]", r"!\g<0>", text) + "%"
