"""The durable record of runs: what each intended to write, and what became of it."""
