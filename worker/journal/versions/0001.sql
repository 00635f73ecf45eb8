-- The tables of the journal, the same in SQLite and PostgreSQL.
--
-- Every key begins with the account. A time is text in UTC with milliseconds, so that it sorts. Text has no maximum
-- length: whatever Charge replies can be recorded. A statement ends with a semicolon at the end of a line.

CREATE TABLE schema_version (
    version INTEGER NOT NULL
);
INSERT INTO schema_version (version) VALUES (1);

-- Whose records these are. URL and mode are null until the first run that read Charge; the rate limit that runs found,
-- in requests a second, and when they did, until one does.
CREATE TABLE accounts (
    account INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    base_url TEXT,
    mode TEXT,
    learned_rate DOUBLE PRECISION,
    learned TEXT
);

-- The fleets that runs have read, by which the account recognises its key. `managed` is 1 if the sources named the
-- fleet, until the operator calls it unmanaged: it must not vanish from them without a word.
CREATE TABLE fleets (
    account INTEGER NOT NULL REFERENCES accounts (account),
    fleet TEXT NOT NULL,
    name TEXT NOT NULL,
    managed INTEGER NOT NULL,
    PRIMARY KEY (account, fleet)
);

-- One row a run, also of a run that had nothing to write. `plan` and `report` are the documents of `--json` without
-- what other rows say: the report without its plan, both without the lists that `lists` holds under these names, and
-- those without what the intents say. `outcomes` counts by name. `approval` is the digest whose approval the run used up;
-- who approved it and when is empty if that was the run itself.
CREATE TABLE runs (
    account INTEGER NOT NULL REFERENCES accounts (account),
    number INTEGER NOT NULL,
    run TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    started TEXT NOT NULL,
    finished TEXT,
    result TEXT,
    exit_code INTEGER,
    outcomes TEXT,
    plan TEXT,
    plan_lists TEXT,
    report TEXT,
    report_lists TEXT,
    approval TEXT,
    approved_by TEXT,
    approved TEXT,
    PRIMARY KEY (account, number),
    UNIQUE (account, run)
);
CREATE INDEX runs_started ON runs (account, started);

-- The lists of plans and reports, named by their SHA-256: what is held in every run is stored once. There is no
-- foreign key, which would search all runs for each list that is deleted.
CREATE TABLE lists (
    account INTEGER NOT NULL REFERENCES accounts (account),
    name TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (account, name)
);

-- One row a write. `outcome` is null until there is one, and may change while it is 'unknown'; `settled` is when it was
-- recorded. `fingerprint` identifies the row of the source that asks for the change, and is empty if none does. A
-- `repair` is not in the plan; `resent` is 1 once a later run has sent the write again; `approved` is 1 if an approval
-- allowed it.
CREATE TABLE intents (
    account INTEGER NOT NULL,
    run_number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    key TEXT NOT NULL,
    recorded TEXT NOT NULL,
    action TEXT NOT NULL,
    driver TEXT NOT NULL,
    fleet TEXT NOT NULL,
    origin TEXT,
    fingerprint TEXT NOT NULL,
    approved INTEGER NOT NULL,
    repair INTEGER NOT NULL,
    resent INTEGER NOT NULL,
    settled TEXT,
    outcome TEXT,
    attempts INTEGER,
    request_id TEXT,
    code TEXT,
    message TEXT,
    PRIMARY KEY (account, run_number, position),
    UNIQUE (account, key),
    FOREIGN KEY (account, run_number) REFERENCES runs (account, number)
);
CREATE INDEX intents_driver ON intents (account, driver, fleet);
CREATE INDEX intents_fleet ON intents (account, fleet);
CREATE INDEX intents_open ON intents (account, run_number) WHERE outcome IS NULL OR outcome = 'unknown';
CREATE INDEX intents_unconfirmed ON intents (account, driver) WHERE code = 'not_converging';

-- Plans whose held changes are allowed until `until`, by the digest that was approved; once, by the run `used_by`.
CREATE TABLE approvals (
    account INTEGER NOT NULL REFERENCES accounts (account),
    digest TEXT NOT NULL,
    approved TEXT NOT NULL,
    approved_by TEXT NOT NULL,
    until TEXT NOT NULL,
    used_by TEXT,
    PRIMARY KEY (account, digest)
);

-- The driver or fleet that each reference resolved to when it was last used.
CREATE TABLE resolutions (
    account INTEGER NOT NULL REFERENCES accounts (account),
    reference TEXT NOT NULL,
    target TEXT NOT NULL,
    remembered TEXT NOT NULL,
    PRIMARY KEY (account, reference)
);

-- Memberships that the sources leave out, whose detach waits or waited for the end of the grace period.
CREATE TABLE absences (
    account INTEGER NOT NULL REFERENCES accounts (account),
    driver TEXT NOT NULL,
    fleet TEXT NOT NULL,
    since TEXT NOT NULL,
    PRIMARY KEY (account, driver, fleet)
);

-- What Charge calls the drivers that a change, a held change or a problem was about. The folded texts are for
-- searching.
CREATE TABLE names (
    account INTEGER NOT NULL REFERENCES accounts (account),
    driver TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    folded_name TEXT NOT NULL,
    folded_email TEXT NOT NULL,
    seen TEXT NOT NULL,
    PRIMARY KEY (account, driver)
);

-- The drivers whose name and e-mail addresses must not be stored. `digest` recognises an address and is empty if none
-- was known. `purged` is 1 once the file holds no trace of what was deleted.
CREATE TABLE forgotten (
    account INTEGER NOT NULL REFERENCES accounts (account),
    driver TEXT NOT NULL,
    digest TEXT NOT NULL,
    forgotten TEXT NOT NULL,
    purged INTEGER NOT NULL,
    PRIMARY KEY (account, driver, digest)
);

-- How much each source said, by its name. `counts` is a JSON array of row counts and times, the oldest first, without
-- those that a later one reaches; `fleets` is a JSON array of the fleets that it named last. `version` is what later
-- versions must descend from, and empty if there is none.
CREATE TABLE sources (
    account INTEGER NOT NULL REFERENCES accounts (account),
    source TEXT NOT NULL,
    counts TEXT NOT NULL,
    fleets TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (account, source)
);

-- One row a pause, also of those that have ended. `fleet` is empty for a pause of all fleets. Without `until` a pause
-- lasts until `ended`.
CREATE TABLE pauses (
    account INTEGER NOT NULL REFERENCES accounts (account),
    number INTEGER NOT NULL,
    fleet TEXT NOT NULL,
    since TEXT NOT NULL,
    until TEXT,
    reason TEXT NOT NULL,
    paused_by TEXT NOT NULL,
    ended TEXT,
    ended_by TEXT,
    PRIMARY KEY (account, number)
);
