"""Workers of a cluster that are stopped and killed while they work, and what must hold all the same."""
