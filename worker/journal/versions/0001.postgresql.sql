-- The tables that only PostgreSQL has: several machines share the accounts that are in it.

-- The accounts of a cluster. `settings` is the file of the account; `key_digest` recognises its key, so that no other
-- account has the same one. `epoch` counts the workers that have had the account; `worker` is the last one, which may
-- send while its permit of `permitted_at` lasts, unless it `released` the account. `condition` and `gist` are what the
-- account's worker last said about it.
CREATE TABLE cluster_accounts (
    name text PRIMARY KEY,
    settings text NOT NULL,
    key_digest bytea UNIQUE,
    epoch bigint NOT NULL DEFAULT 0,
    worker text,
    permitted_at timestamptz,
    released boolean NOT NULL DEFAULT true,
    due_at timestamptz NOT NULL DEFAULT now(),
    last_success timestamptz,
    failures integer NOT NULL DEFAULT 0,
    condition text,
    gist text,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- The last epoch of each account that was removed, so that none comes back with an epoch that a worker had. It was not
-- `released` if a worker had it then: that one may still send for the length of its permit.
CREATE TABLE cluster_removed (
    name text PRIMARY KEY,
    epoch bigint NOT NULL,
    released boolean NOT NULL
);
