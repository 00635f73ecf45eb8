"""The job queue of a cluster: the one edge that knows Procrastinate."""
