"""A kind of source for fleet-sync: the groups of a directory, over HTTP."""
