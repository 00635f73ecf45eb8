"""The HTTP side of many accounts: one overview with state and search, and each account's pages below `/accounts/NAME`.

Invariants: the size of the overview and of the metrics does not grow with the number of accounts beyond their limits; a
session is valid for all accounts, which have one token. Neighbours: `app` has an account's pages,
`core.monitoring.account_overview` sums up, `service.account_supervisor` has the accounts.
"""

from typing import Final, Protocol

from starlette import applications, exceptions, requests, responses, routing, types

from worker.core.model.errors import FleetSyncError
from worker.core.monitoring import account_overview
from worker.web import actions, app, metrics, public_pages, security, service_protocol, sessions, templating

PREFIX: Final = "/accounts"


class AccountsProtocol(Protocol):
    """The running accounts, as the HTTP side sees them."""

    def status(self) -> account_overview.AccountsStatus:
        """Return the present state of all accounts."""
        ...

    def has(self, name: str) -> bool:
        """Return whether there is an account of this name."""
        ...

    def service(self, name: str) -> service_protocol.ServiceProtocol | None:
        """Return the service of an account, or None if it does not run."""
        ...

    def controls(self, name: str) -> service_protocol.Controls | None:
        """Return what may be asked of an account although it does not run here, or None."""
        ...

    def error(self, name: str) -> FleetSyncError | None:
        """Return why an account does not run, if that is known."""
        ...

    def unready_reason(self) -> str:
        """Return why the process is not ready, or an empty text if it is."""
        ...


def create(
    accounts: AccountsProtocol, gauges: metrics.Metrics, access: security.Access = security.OPEN
) -> applications.Starlette:
    """Make the app of many accounts. `app.state.live_updates` ends open streams."""
    people = sessions.Sessions(access.token, now=lambda: accounts.status().now)
    views = _Overview(accounts, people, can_sign_in=access.token is not None)
    each = _AccountApps(accounts, people, access, views)
    routes: list[routing.BaseRoute] = [
        *app.probes(accounts.unready_reason, lambda: gauges.render(accounts.status())),
        routing.Route("/static/{name}", app.asset),
        routing.Route("/", app.protected(views.overview, views, people, access)),
        routing.Route(f"{PREFIX}/{{account}}", _to_its_overview),
        routing.Mount(f"{PREFIX}/{{account}}", app=each),
    ]
    if access.token is not None:
        handlers = actions.SignIn(access.token, people, templating.ABOVE_ACCOUNTS, show_login=views.login_page)
        routes += app.sign_in_routes(handlers, views)
    made = applications.Starlette(
        routes=routes,
        middleware=app.around(access),
        exception_handlers={exceptions.HTTPException: views.http_error, Exception: views.defect},
    )
    made.router.redirect_slashes = False
    made.state.live_updates = each
    return made


class _Overview(public_pages.PublicPages):
    """Answers `GET /`."""

    def __init__(self, accounts: AccountsProtocol, people: sessions.Sessions, *, can_sign_in: bool) -> None:
        super().__init__(templating.ABOVE_ACCOUNTS, can_sign_in=can_sign_in)
        self._accounts = accounts
        self._sessions = people

    async def overview(self, request: requests.Request) -> responses.Response:
        """Answer `GET /?q=&condition=`: the accounts that match, the worst first."""
        query = request.query_params.get("q", "").strip()[:200]
        condition = request.query_params.get("condition", "")
        present = self._accounts.status()
        page = self._rendered(
            "accounts.html",
            now=present.now,
            error=present.error,
            shown=account_overview.overview(present.accounts, query=query, condition=condition),
            query=query,
            condition=condition,
            session=self._sessions.of(request),
            can_sign_in=self._can_sign_in,
        )
        return responses.HTMLResponse(page)

    def not_running(self, name: str) -> responses.Response:
        """Return the page of an account that does not run."""
        if not self._accounts.has(name):
            return self._error("Page not found", status=404, message="There is no account of this name.")
        error = self._accounts.error(name)
        if error is None:
            return self._error(f"{name} waits to start", status=503, message="Accounts start one after the other.")
        return self._error(f"{name} does not run", status=503, message=error.message, remedy=error.remedy)


class _AccountApps:
    """Answers what is below the prefix of an account, with an app that is made when it is first needed."""

    def __init__(
        self, accounts: AccountsProtocol, people: sessions.Sessions, access: security.Access, views: _Overview
    ) -> None:
        self._accounts = accounts
        self._sessions = people
        self._access = access
        self._views = views
        self._apps: dict[str, tuple[service_protocol.ServiceProtocol, applications.Starlette]] = {}

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Let the account's app answer."""
        name = scope["path_params"]["account"]
        service = self._accounts.service(name)
        answer: types.ASGIApp = self._elsewhere(name, scope) if service is None else self._app(name, service)
        await answer(scope, receive, send)

    def _elsewhere(self, name: str, scope: types.Scope) -> types.ASGIApp:
        """Return what answers for an account that does not run here: no page, but every worker accepts a pause."""
        if (
            self._access.token is None
            or scope["method"] != "POST"
            or (controls := self._accounts.controls(name)) is None
        ):
            return self._missing
        handlers = actions.Requests(
            controls,
            self._access.token,
            self._sessions,
            _place(name),
            show_login=self._views.login_page,
            now=lambda: self._accounts.status().now,
        )
        return app.controls_app(handlers, self._views, otherwise=self._missing)

    def close(self) -> None:
        """End the open streams of all accounts."""
        for _, made in self._apps.values():
            made.state.live_updates.close()

    def _app(self, name: str, service: service_protocol.ServiceProtocol) -> applications.Starlette:
        made_for, made = self._apps.get(name, (None, None))
        if made is None or made_for is not service:
            self._discard_ended()
            made = app.account_app(service, self._sessions, self._access, _place(name))
            self._apps[name] = (service, made)
        return made

    def _discard_ended(self) -> None:
        """End the streams of accounts that were started again or removed, and forget their apps."""
        for name, (service, made) in list(self._apps.items()):
            if self._accounts.service(name) is not service:
                made.state.live_updates.close()
                del self._apps[name]

    async def _missing(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        request = requests.Request(scope, receive)

        async def page(request: requests.Request) -> responses.Response:
            return self._views.not_running(request.path_params["account"])

        shown = await app.protected(page, self._views, self._sessions, self._access)(request)
        await shown(scope, receive, send)


def _place(name: str) -> templating.Place:
    return templating.Place(f"{PREFIX}/{name}", name)


async def _to_its_overview(request: requests.Request) -> responses.Response:
    return responses.RedirectResponse(f"{request.url.path}/", 308)
