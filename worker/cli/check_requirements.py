"""Finds what every run would fail on, besides its sources and its API key: other secrets, addresses and certificates.

Invariant: no request is made, and the API key is not read. Neighbours: `check` reports what is found;
`settings.secrets` and `service.network` read the same for a run.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem

if TYPE_CHECKING:
    from worker.settings import model


def of_account(settings: "model.Settings") -> list[Problem]:
    """Return the problems with the files that the settings of an account name."""
    from worker.settings import secrets

    checks = (secrets.proxy_address, secrets.notification_targets, _certificates)
    return [problem for check in checks for problem in _problems(functools.partial(check, settings))]


def of_process(environ: Mapping[str, str]) -> list[Problem]:
    """Return the problems with the secrets of the environment that all accounts share."""
    from worker.settings import secrets

    checks = (secrets.plan_key, secrets.status_token)
    return [problem for check in checks for problem in _problems(functools.partial(check, environ))]


def _certificates(settings: "model.Settings") -> None:
    """Read the CA file, if there is one: certificates take longer than everything else."""
    if settings.charge.ca_file:
        from worker.service import network

        network.network(settings, proxy=None, environ={})


def _problems(check: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        check()
    except SettingsError as error:
        return tuple(error.problems)
    return ()
