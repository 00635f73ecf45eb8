"""How much is tried: the number of examples of a law, and the parameters that only `make test-all` uses.

Invariant: the profile `ci` tries as many examples as a test asks for. Neighbours: `tests/conftest.py` defines the
profiles.
"""

import hypothesis
import pytest

_IN_CI = 100
"""`max_examples` of the profile `ci`."""


def examples(number: int) -> hypothesis.settings:
    """Return settings that try `number` examples in CI, fewer in the profile `fast`, and more in `nightly`."""
    return hypothesis.settings(max_examples=tries(number))


def tries(number: int) -> int:
    """Return how many of the examples are tried where CI tries `number`: at least five."""
    return max(5, number * hypothesis.settings().max_examples // _IN_CI)


def slow(*values: object) -> "pytest.ParameterSet":
    """Return a set of parameters that only `make test-all` uses, because another set checks the same rule."""
    return pytest.param(*values, marks=pytest.mark.slow)
