-- How the workers of a cluster share its accounts. The times are the server's, for people and for what is due: no
-- claim rests on a clock.

-- A run is due at `due_at`, which is never further away than `delay_seconds`. `closed_seconds` is how long Charge
-- wanted no request from `closed_at` on. `broken` are the parts that do not work. There is no index: it would make every
-- run write to it, and ten thousand rows are read in milliseconds.
ALTER TABLE cluster_accounts
    ADD COLUMN delay_seconds double precision NOT NULL DEFAULT 0,
    ADD COLUMN closed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN closed_seconds double precision NOT NULL DEFAULT 0,
    ADD COLUMN broken text NOT NULL DEFAULT '';

-- One row a living process. `beats` counts its heartbeats: a process whose number stays the same is taken for dead by
-- one that watched it long enough, by its own clock. `queue_worker` is its number in the job queue.
CREATE TABLE cluster_workers (
    worker text PRIMARY KEY,
    beats bigint NOT NULL DEFAULT 0,
    queue_worker bigint,
    version text NOT NULL,
    started timestamptz NOT NULL DEFAULT now()
);

-- What the keys are digested with: one row.
CREATE TABLE cluster_secret (
    one integer PRIMARY KEY CHECK (one = 1),
    secret text NOT NULL
);
INSERT INTO cluster_secret (one, secret)
SELECT 1, CAST(gen_random_uuid() AS text) || CAST(gen_random_uuid() AS text);

-- What people allow, pause or resume takes effect at once, whichever process they ask.
CREATE FUNCTION cluster_request_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE cluster_accounts SET due_at = now() WHERE name = (SELECT name FROM accounts WHERE account = NEW.account); RETURN NULL; END $$;
CREATE TRIGGER cluster_approved AFTER INSERT OR UPDATE ON approvals
    FOR EACH ROW WHEN (NEW.used_by IS NULL) EXECUTE FUNCTION cluster_request_run();
CREATE TRIGGER cluster_paused AFTER INSERT OR UPDATE ON pauses
    FOR EACH ROW EXECUTE FUNCTION cluster_request_run();
