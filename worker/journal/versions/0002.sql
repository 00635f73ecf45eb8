-- The epoch of the claim under which a worker of a cluster wrote a run; null without a cluster.
ALTER TABLE runs ADD COLUMN epoch BIGINT;
