"""The two things that may be asked of the service: to reconcile now, and to let a held plan through.

Invariant: without the token nothing happens, and what is approved is the plan that is held now, or nothing. Neighbours:
`armour` compares the token, `core.overview` says what an approval lets through.
"""

import contextlib
import urllib.parse
from collections.abc import Mapping
from typing import Final

import anyio
import structlog
from starlette import exceptions, requests, responses

from worker.core.model.secret import Secret
from worker.core.monitoring import alerts
from worker.web import security, service_protocol

MOST_BYTES: Final = 16_384
BODY_SECONDS: Final = 10.0

log = structlog.get_logger()


class Actions:
    """Answers the requests that change something."""

    def __init__(self, service: service_protocol.ServiceProtocol, token: Secret) -> None:
        """Obey whoever has the token."""
        self._service = service
        self._token = token

    async def sync(self, request: requests.Request) -> responses.Response:
        """Answer `POST /sync`."""
        self._admit(request, security.bearer_token(request))
        self._service.sync()
        log.debug("sync_requested")
        return responses.JSONResponse({"accepted": True}, 202)

    async def approve(self, request: requests.Request) -> responses.Response:
        """Answer `POST /approve`: a form of the page, with its token, or a request with the token in its header."""
        form = await _form(request)
        bearer = security.bearer_token(request)
        self._admit(request, form.get("token") if bearer is None else bearer)
        digest = form.get("digest", "")
        held = alerts.approval(self._service.snapshot())
        if held is None or digest != held.digest:
            message = (
                "This is not the plan that is held now, so nothing was approved. Look at what is held, and decide."
            )
            raise exceptions.HTTPException(409, message)
        await self._service.approve(digest)
        log.info("plan_approved", digest=digest, changes=len(held.held))
        if bearer is not None:
            return responses.JSONResponse({"accepted": True}, 202)
        return responses.RedirectResponse("/?approved", 303)

    def _admit(self, request: requests.Request, token: str | None) -> None:
        """Raise HTTPException unless the request has the token, and no other site made it."""
        if security.is_foreign_host(request):
            raise exceptions.HTTPException(403, "Another site made this request.")
        if not security.token_matches(token, self._token):
            log.warning("token_rejected", path=request.url.path)
            message = "This needs the token of FLEET_SYNC_STATUS_TOKEN, and what came is not it."
            raise exceptions.HTTPException(401, message, {"WWW-Authenticate": 'Bearer realm="fleet-sync"'})


async def _form(request: requests.Request) -> Mapping[str, str]:
    """Read a form of a few short fields. Raises HTTPException where it is none, too long or too slow."""
    body = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async with contextlib.aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MOST_BYTES:
                        raise exceptions.HTTPException(413, "This is too long for a form of ours.")
    except TimeoutError:
        raise exceptions.HTTPException(408, "The form did not arrive in time.") from None
    try:
        return dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=bool(body), max_num_fields=8))
    except ValueError:  # neither UTF-8 nor a form
        raise exceptions.HTTPException(400, "This is no form of ours.") from None
