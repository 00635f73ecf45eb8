"""The requests that change something: run now, and approve the held changes.

Invariant: without the token nothing happens, and only the plan whose changes are held now can be approved. Neighbours:
`security` compares the token, `core.monitoring.alerts` says what an approval allows.
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

MAX_FORM_BYTES: Final = 16_384
FORM_SECONDS: Final = 10.0

log = structlog.get_logger()


class Actions:
    """Answers the requests that change something."""

    def __init__(self, service: service_protocol.ServiceProtocol, token: Secret) -> None:
        """Take the service, and the token that every request must carry."""
        self._service = service
        self._token = token

    async def sync(self, request: requests.Request) -> responses.Response:
        """Answer `POST /sync`."""
        self._authorize(request, security.bearer_token(request))
        self._service.sync()
        log.debug("sync_requested")
        return responses.JSONResponse({"accepted": True}, 202)

    async def approve(self, request: requests.Request) -> responses.Response:
        """Answer `POST /approve`: the page's form with the token in a field, or a request with a bearer token."""
        form = await _form(request)
        bearer = security.bearer_token(request)
        self._authorize(request, form.get("token") if bearer is None else bearer)
        digest = form.get("digest", "")
        approval = alerts.approval(self._service.snapshot())
        if approval is None or digest != approval.digest:
            message = (
                "The held changes are no longer those of this plan. Nothing was approved: review the current plan."
            )
            raise exceptions.HTTPException(409, message)
        await self._service.approve(digest)
        log.info("plan_approved", digest=digest, changes=len(approval.held))
        if bearer is not None:
            return responses.JSONResponse({"accepted": True}, 202)
        return responses.RedirectResponse("/?approved", 303)

    def _authorize(self, request: requests.Request, token: str | None) -> None:
        """Raise HTTPException unless the request carries the token and does not come from another site's page."""
        if security.is_cross_site(request):
            raise exceptions.HTTPException(403, "This request comes from a page of another site.")
        if not security.token_matches(token, self._token):
            log.warning("token_rejected", path=request.url.path)
            message = "The token is missing or incorrect. Use the one set in FLEET_SYNC_STATUS_TOKEN."
            raise exceptions.HTTPException(401, message, {"WWW-Authenticate": 'Bearer realm="fleet-sync"'})


async def _form(request: requests.Request) -> Mapping[str, str]:
    """Read a form of a few short fields. Raises HTTPException if it is malformed, too long, too slow or incomplete."""
    body = bytearray()
    try:
        with anyio.fail_after(FORM_SECONDS):
            async with contextlib.aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MAX_FORM_BYTES:
                        raise exceptions.HTTPException(413, f"A form has at most {MAX_FORM_BYTES:,} bytes.")
    except TimeoutError:
        raise exceptions.HTTPException(408, f"The form did not arrive within {FORM_SECONDS:g} seconds.") from None
    except requests.ClientDisconnect:  # no one reads this response, but without it the log would report a defect
        raise exceptions.HTTPException(400, "The form is incomplete.") from None
    try:
        return dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=bool(body), max_num_fields=8))
    except ValueError:  # neither UTF-8 nor a form
        raise exceptions.HTTPException(400, "The request body is not a valid form.") from None
