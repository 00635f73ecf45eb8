"""The durable record of what was intended and what came of it: `memory` for tests and dry runs, `sql` for real."""
