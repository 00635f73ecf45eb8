-- The tables that only PostgreSQL has: several machines share the accounts that are in it.

-- The accounts of a cluster. `settings` is the file of the account; `key_digest` recognises its key, so that no other
-- account has the same one. `epoch` counts the workers that have had the account; `worker` is the last one, which has it
-- unless it `released` it. For `permit_seconds` after a claim an earlier one may still send. `condition` and `gist` are
-- what the account's worker last said about it.
CREATE TABLE cluster_accounts (
    name text PRIMARY KEY,
    settings text NOT NULL,
    key_digest bytea UNIQUE,
    epoch bigint NOT NULL DEFAULT 0,
    worker text,
    released boolean NOT NULL DEFAULT true,
    permit_seconds double precision NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    last_success timestamptz,
    failures integer NOT NULL DEFAULT 0,
    condition text,
    gist text,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- The last epoch of each account that was removed, so that none comes back with an epoch that a worker had. For
-- `permit_seconds` a worker that had it then may still send.
CREATE TABLE cluster_removed (
    name text PRIMARY KEY,
    epoch bigint NOT NULL,
    permit_seconds double precision NOT NULL
);
