"""The pages that need no account: to sign in, why nothing is shown, and errors.

Invariant: none of them shows anything of an account. Neighbours: `pages` and `accounts_page` add their own, `app` maps
addresses to them.
"""

import http
from collections.abc import Mapping
from typing import Any, Final

import markupsafe
import structlog
from starlette import exceptions, requests, responses

from worker.core.model.errors import FleetSyncError
from worker.web import security, templating

log = structlog.get_logger()

_TITLES: Final = {
    400: "Bad request",
    401: "The token is missing or incorrect",
    403: "Not allowed",
    404: "Page not found",
    405: "Method not allowed",
    408: "Request timed out",
    409: "Nothing was approved",
    413: "Request too large",
    500: "Internal error",
}


class PublicPages:
    """Answers requests that no page of an account can answer."""

    def __init__(self, place: templating.Place, *, can_sign_in: bool) -> None:
        """Take where the pages are, and whether there is a token to sign in with."""
        self._place = place
        self._can_sign_in = can_sign_in

    async def login(self, request: requests.Request) -> responses.Response:
        """Answer `GET /login`."""
        return self.login_page(status=200)

    def login_page(
        self, *, target: str = "/", name: str = "", error: str = "", status: int = 401
    ) -> responses.Response:
        """Return the page to sign in on, which leads to `target`."""
        if not self._can_sign_in:
            return self._error(
                "This page is not open to readers",
                status=403,
                message="The setting `status.anonymous_read` is false, and no token is set to sign in with.",
                remedy="Set `FLEET_SYNC_STATUS_TOKEN` to a random text of at least 16 characters and restart.",
            )
        page = self._rendered("login.html", target=target, name=name, error=error)
        return responses.HTMLResponse(page, status)

    async def locked(self, request: requests.Request) -> responses.Response:
        """Answer every page while readers cannot sign in: other machines reach it, and no token is set."""
        return self._error(
            "This page needs a token",
            status=403,
            message="Other machines can reach this page, and no token is set. Probes and metrics stay available.",
            remedy="Set `FLEET_SYNC_STATUS_TOKEN` to a random text of at least 16 characters and restart fleet-sync; "
            'or set `status.listen = "127.0.0.1:8080"`, which only this machine can reach.',
        )

    async def http_error(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer a request that is not served: an unknown address, a wrong method, a missing token."""
        status, detail, headers = 500, "", None
        if isinstance(error, exceptions.HTTPException):
            status, detail, headers = error.status_code, error.detail, error.headers
        title = _TITLES.get(status, "Request failed")
        message = detail if detail != http.HTTPStatus(status).phrase else ""
        return self._error(title, status=status, message=message, headers=headers)

    async def journal_error(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer when the journal cannot be read or written."""
        remedy = error.remedy if isinstance(error, FleetSyncError) else ""
        log.warning("page_failed", path=request.url.path, error=str(error))
        return self._error("The journal is unavailable", status=503, message=str(error), remedy=remedy)

    async def defect(self, request: requests.Request, error: Exception) -> responses.Response:
        """Answer after a defect in a page. Adds the security headers itself: this response passes no middleware."""
        log.error("page_crashed", path=request.url.path, exc_info=error)
        return self._error(_TITLES[500], status=500, message="The log has the details.", headers=security.HEADERS)

    def _error(
        self, title: str, *, status: int, message: str, remedy: str = "", headers: Mapping[str, str] | None = None
    ) -> responses.Response:
        page = self._rendered("error.html", title=title, message=message, remedy=remedy)
        return responses.HTMLResponse(page, status, headers)

    def _rendered(self, template: str, **values: Any) -> markupsafe.Markup:
        return templating.render(template, place=self._place, **values)
