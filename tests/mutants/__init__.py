"""Deliberate defects of the product, each of which the tests must catch: `python -m tests.mutants`."""
