"""One file a form of the journal, in the order of `revisions`."""
