"""How connections are made to Charge, webhooks and sources: which certificates are trusted, and through which proxy.

Invariant: everything in the process shares one SSL context, which takes 1 MB and 80 ms; only an account or source with
a CA file of its own has another. Neighbours: `charge.transport`, `notifications.webhook` and `sources.http_source` use
what is made here.
"""

import functools
import pathlib
import ssl
import stat
from collections.abc import Mapping

import certifi

from worker.charge import connection, transport
from worker.core.model.errors import SettingsError
from worker.core.model.problem import Problem
from worker.core.model.secret import Secret
from worker.settings import model

_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def network(settings: model.Settings, *, proxy: Secret | None, environ: Mapping[str, str]) -> transport.Network:
    """Return how to connect to Charge. Raises errors.SettingsError if the CA file cannot be used."""
    ca_file = settings.charge.ca_file
    context = None
    if settings.charge.base_url.startswith("https:"):
        context = ssl_context_with(settings.resolve_path(ca_file), "charge.ca_file") if ca_file else ssl_context()
    return transport.Network(
        connections=settings.rate_limit.concurrency,
        ssl_context=context,
        proxy=connection.Proxy.parse(proxy.reveal()) if proxy else None,
        ignored_proxies=tuple(name for name in _PROXY_VARIABLES if environ.get(name)),
    )


def webhook_context(url: Secret) -> ssl.SSLContext:
    """Return the SSL context for a webhook; for plain http, one that trusts nothing and takes no memory."""
    return ssl_context() if url.reveal().startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """Return the context of this process: it trusts certifi's authorities and those of the system."""
    return _context()


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


def ssl_context_with(ca_file: pathlib.Path, setting: str) -> ssl.SSLContext:
    """Return a context that also trusts the authorities in a file, which `setting` names. Raises SettingsError."""
    context = _context()
    try:
        if not stat.S_ISREG(ca_file.stat().st_mode):  # reading a pipe could block forever
            raise SettingsError([Problem(setting, f"{ca_file} is not a regular file")])
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        message = f"the file {ca_file} contains no certificate in PEM format"
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid path"
        message = f"cannot read the file {ca_file} ({reason})"
    else:
        return context
    raise SettingsError([Problem(setting, message)])
