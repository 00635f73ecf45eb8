"""Serves the service's HTTP side: who may read it, under which names, and on which port.

Invariant: on an address that other machines reach, pages are hidden until a token is set. Neighbours: `app` serves the
page of one account, `account_supervisor` that of many, `web` has the pages.
"""

import structlog
from anyio import abc
from starlette import applications

from worker.core.model.secret import Secret
from worker.settings import model, urls
from worker.web import security, server

log = structlog.get_logger()

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
"""Host names accepted on a loopback address: any other one comes from a site that wants to read the page."""


def access(status: model.Status, token: Secret | None) -> security.Access:
    """Return who may read pages and what the token is, for the address in `status.listen`."""
    host, _ = urls.endpoint(status.listen)
    is_loopback = urls.is_loopback(host)
    chosen = status.anonymous_read
    return security.Access(
        token,
        hosts=frozenset({*_LOOPBACK_NAMES, host}) if is_loopback else frozenset(),
        locked=not is_loopback and token is None,
        anonymous_read=is_loopback and token is None if chosen is None else chosen,
    )


async def serve(app: applications.Starlette, listen: str, *, task_status: abc.TaskStatus[None]) -> None:
    """Serve until cancelled. Raises errors.SettingsError if the address cannot be used."""

    def on_listening(url: str) -> None:
        log.info("serving", url=url)
        task_status.started()

    host, port = urls.endpoint(listen)
    await server.serve(app, host=host, port=port, on_listening=on_listening)
