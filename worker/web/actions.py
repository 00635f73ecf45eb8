"""The requests that change something: sign in and out, run now, approve the held changes, pause and resume.

Invariant: nothing happens without the token (as a bearer token or in a field), or a session and its form token; who did
it is recorded, and only the plan whose changes are held now can be approved. Neighbours: `security` compares the token,
`sessions` knows who is signed in, `core.monitoring.alerts` says what an approval allows.
"""

import contextlib
import datetime
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import structlog
from starlette import exceptions, requests, responses

from worker.core.model.identifiers import FleetId
from worker.core.model.pauses import Pause
from worker.core.model.people import clean
from worker.core.model.ports import Stage
from worker.core.model.secret import Secret
from worker.core.monitoring import alerts
from worker.core.planning import references
from worker.web import security, service_protocol, sessions, templating

MAX_FORM_BYTES: Final = 16_384
FORM_SECONDS: Final = 10.0

_TOKEN_REMEDY: Final = "Use the one set in FLEET_SYNC_STATUS_TOKEN."  # noqa: S105 - the name of a variable
_LENGTH: Final = re.compile(r"([0-9]{1,4})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}

_FIELDS: Final = frozenset({"token", "form_token", "by", "digest", "for", "reason", "fleet"})
"""What the forms of the pages, and programs, may send. The forms send more than each request needs."""
_SHOWN_FIELDS: Final = "by, digest, for, reason and fleet"

ShowLogin = Callable[..., responses.Response]

log = structlog.get_logger()


class SignIn:
    """Answers requests to sign in and out, and says who sent a request."""

    def __init__(
        self, token: Secret, people: sessions.Sessions, place: templating.Place, *, show_login: ShowLogin
    ) -> None:
        """Take the token, the sessions, where the pages are, and what shows the sign-in page again."""
        self._token = token
        self._sessions = people
        self._base = place.base
        self._about = {"account": place.account} if place.account else {}
        self._show_login = show_login

    async def login(self, request: requests.Request) -> responses.Response:
        """Answer `POST /login`: a name and the token become a session."""
        form = dict(await _fields(request))
        _require_own_site(request)
        name, target = clean(form.get("name", "")), _own_path(form.get("next", f"{self._base}/"))
        if not security.token_matches(form.get("token"), self._token):
            log.warning("token_rejected", path=request.url.path)
            return self._show_login(target=target, name=name, error=f"The token is incorrect. {_TOKEN_REMEDY}")
        if not name:
            return self._show_login(target=target, error="Enter your name: it is recorded with what you do.")
        response = responses.RedirectResponse(target, 303)
        self._sessions.sign_in(response, name, secure=request.url.scheme == "https")
        log.info("signed_in", by=name)
        return response

    async def logout(self, request: requests.Request) -> responses.Response:
        """Answer `POST /logout`."""
        await self._authorize(request)
        response = responses.RedirectResponse(f"{self._base}/", 303)
        self._sessions.sign_out(response)
        return response

    async def _authorize(self, request: requests.Request) -> tuple[str, Mapping[str, str]]:
        """Return who sent a request, and its form. Raises HTTPException unless that is allowed, and understood."""
        fields = await _fields(request)
        form = dict(fields)
        _require_own_site(request)
        by = self._sender(request, form)
        _require_understood(request, [name for name, _ in fields])
        return by, form

    def _sender(self, request: requests.Request, form: Mapping[str, str]) -> str:
        bearer = security.bearer_token(request)
        if (sent := bearer if bearer is not None else form.get("token")) is not None:
            if not security.token_matches(sent, self._token):
                raise _rejected(request)
            return clean(form.get("by", "")) or "the token"
        session = self._sessions.of(request)
        if session is None:
            raise _rejected(request)
        if not sessions.form_token_matches(session, form.get("form_token", "")):
            raise exceptions.HTTPException(403, "This form does not come from a page of your session. Load it again.")
        return session.name


class Requests(SignIn):
    """Answers what may be asked of an account wherever it runs: to run now, to pause and to resume."""

    def __init__(
        self,
        controls: service_protocol.Controls,
        token: Secret,
        people: sessions.Sessions,
        place: templating.Place,
        *,
        show_login: ShowLogin,
        now: sessions.Now,
    ) -> None:
        """Take the account, the clock, and what `SignIn` takes."""
        super().__init__(token, people, place, show_login=show_login)
        self._controls = controls
        self._now = now

    async def sync(self, request: requests.Request) -> responses.Response:
        """Answer `POST /sync`."""
        by, _ = await self._authorize(request)
        self._controls.sync()
        log.info("sync_requested", by=by, **self._about)
        return _accepted(request, f"{self._base}/?requested")

    async def pause(self, request: requests.Request) -> responses.Response:
        """Answer `POST /pause`, fields `for` (as in `2h`; empty: until resumed), `reason` and `fleet`."""
        by, form = await self._authorize(request)
        now = self._now()
        pause = Pause(now, _end(form, now), by, clean(form.get("reason", "")), _fleet(form))
        await self._controls.pause(pause)
        log.warning("paused", by=by, fleet=pause.fleet, reason=pause.reason, **self._about)
        return _accepted(request, f"{self._base}/?paused")

    async def resume(self, request: requests.Request) -> responses.Response:
        """Answer `POST /resume`, field `fleet`; without it, every pause ends."""
        by, form = await self._authorize(request)
        ended = await self._controls.resume(by=by, fleet=_fleet(form))
        log.warning("resumed", by=by, pauses=len(ended), **self._about)
        return _accepted(request, f"{self._base}/?resumed")


class Actions(Requests):
    """Answers the requests that change something, for an account that runs here."""

    def __init__(
        self,
        service: service_protocol.ServiceProtocol,
        token: Secret,
        people: sessions.Sessions,
        place: templating.Place,
        *,
        show_login: ShowLogin,
    ) -> None:
        """Take the service, and what `SignIn` takes."""
        super().__init__(service, token, people, place, show_login=show_login, now=lambda: service.snapshot().now)
        self._service = service

    async def approve(self, request: requests.Request) -> responses.Response:
        """Answer `POST /approve`, field `digest`."""
        by, form = await self._authorize(request)
        digest = form.get("digest", "")
        present = self._service.snapshot()
        if present.running and present.running.stage is Stage.CHANGING_MEMBERSHIPS:
            # That run may have just used up an approval of the same digest: a second click would leave another one.
            message = "The service is changing memberships. Nothing was approved: review the plan after that."
            raise exceptions.HTTPException(409, message)
        approval = alerts.approval(present)
        if approval is None or digest != approval.digest:
            message = (
                "The held changes are no longer those of this plan. Nothing was approved: review the current plan."
            )
            raise exceptions.HTTPException(409, message)
        await self._service.approve(digest, by=by)
        log.info("plan_approved", digest=digest, changes=len(approval.held), by=by, **self._about)
        return _accepted(request, f"{self._base}/?approved")


def _rejected(request: requests.Request) -> exceptions.HTTPException:
    log.warning("token_rejected", path=request.url.path)
    message = f"Sign in, or send the token as a bearer token. {_TOKEN_REMEDY}"
    return exceptions.HTTPException(401, message, {"WWW-Authenticate": 'Bearer realm="fleet-sync"'})


def _require_own_site(request: requests.Request) -> None:
    if security.is_cross_site(request):
        raise exceptions.HTTPException(403, "This request comes from a page of another site.")


def _require_understood(request: requests.Request, names: Sequence[str]) -> None:
    """Refuse unknown or repeated fields: if `fleet` were ignored, the request would apply to all fleets."""
    if request.query_params or not _FIELDS.issuperset(names) or len(set(names)) < len(names):
        raise exceptions.HTTPException(
            400, f"Send each field once, in the body of a form (application/x-www-form-urlencoded): {_SHOWN_FIELDS}."
        )


def _accepted(request: requests.Request, page: str) -> responses.Response:
    """Return the answer for a program, or the page that a person sees next."""
    if security.bearer_token(request) is not None:
        return responses.JSONResponse({"accepted": True}, 202)
    return responses.RedirectResponse(page, 303)


def _own_path(text: str) -> str:
    """Return the path if it is on this site, else the root: a form must not lead to another site."""
    return text if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) else "/"


def _end(form: Mapping[str, str], now: datetime.datetime) -> datetime.datetime | None:
    if not (text := form.get("for", "").strip()):
        return None
    if not (found := _LENGTH.fullmatch(text)) or not int(found[1]):
        raise exceptions.HTTPException(400, "Write how long to pause as a number and m, h or d, as in 2h.")
    return now + datetime.timedelta(**{_UNITS[found[2]]: int(found[1])})


def _fleet(form: Mapping[str, str]) -> FleetId | None:
    """Return the fleet that a request is about, or None for all. An empty one, as of an unset variable, is refused."""
    if "fleet" not in form:
        return None
    try:
        return references.parse_fleet_id(form["fleet"].strip())
    except ValueError as error:
        raise exceptions.HTTPException(400, str(error)) from None


async def _fields(request: requests.Request) -> list[tuple[str, str]]:
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
        return urllib.parse.parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=8
        )
    except ValueError:  # neither UTF-8 nor a form
        raise exceptions.HTTPException(400, "The request body is not a valid form.") from None
