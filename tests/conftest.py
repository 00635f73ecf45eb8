"""What every test begins with: nobody has set up an account.

Invariant: what the person who runs the tests has exported for an account of their own, as the README shows, reaches no
test. Neighbours: `support.command` gives commands in processes of their own an environment that is written down there.
"""

import os

ABOUT_TESTS = "FLEET_SYNC_TEST_"
"""How names begin that are meant for the tests."""


def pytest_configure() -> None:
    """Take the account out of the environment, in every process that runs tests."""
    for name in tuple(os.environ):
        if name.startswith(("CHARGE_", "FLEET_SYNC_")) and not name.startswith(ABOUT_TESTS):
            del os.environ[name]
