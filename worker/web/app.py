"""The service's HTTP side as an ASGI app: probes, metrics, the status page, and requests that need the token.

Invariant: nothing changes without the token, and nothing can be changed if none is configured. Neighbours:
`service_protocol` is the service, `pages` and `live_updates` show it, `actions` changes it, `throttle` and
`security` wrap every request.
"""

from collections.abc import Awaitable, Callable, Sequence

from starlette import applications, exceptions, middleware, requests, responses, routing, types

from worker.core.model.errors import FleetSyncError
from worker.web import (
    actions,
    fragments,
    lists,
    live_updates,
    metrics,
    pages,
    public_pages,
    security,
    service_protocol,
    sessions,
    templating,
    throttle,
)

ASSET_MAX_AGE_SECONDS = 86_400

View = Callable[[requests.Request], Awaitable[responses.Response]]


def create(
    service: service_protocol.ServiceProtocol,
    gauges: metrics.Metrics,
    access: security.Access = security.OPEN,
) -> applications.Starlette:
    """Make the app of a service for one account. `app.state.live_updates` ends open streams."""
    people = sessions.Sessions(access.token, now=lambda: service.snapshot().now)
    own = [
        *probes(service.unready_reason, lambda: gauges.render(service.snapshot())),
        routing.Route("/static/{name}", asset),
    ]
    return account_app(service, people, access, routes=own, around=around(access))


def account_app(
    service: service_protocol.ServiceProtocol,
    people: sessions.Sessions,
    access: security.Access,
    place: templating.Place = templating.ROOT,
    *,
    routes: Sequence[routing.BaseRoute] = (),
    around: Sequence[middleware.Middleware] = (),
) -> applications.Starlette:
    """Make the app with the pages of an account, and what changes it, which begin at `place`; and with `routes`."""
    overview = fragments.Fragments(service, place, approvable=access.token is not None)
    views = pages.Pages(service, overview, people, place, can_sign_in=access.token is not None)
    updates = live_updates.LiveUpdates(service, overview)
    served = [
        routing.Route(path, protected(view, views, people, access))
        for path, view in _content(views, lists.Lists(service, views.page), updates).items()
    ]
    if access.token is not None:
        handlers = actions.Actions(service, access.token, people, place, show_login=views.login_page)
        served += [
            *sign_in_routes(handlers, views),
            *posted(handlers.sync, handlers.approve, handlers.pause, handlers.resume),
        ]
    made = applications.Starlette(
        routes=[*routes, *served],
        middleware=around,
        exception_handlers=_error_handlers(views),
    )
    made.router.redirect_slashes = False
    made.state.live_updates = updates
    return made


def around(access: security.Access) -> list[middleware.Middleware]:
    """Return what every request passes: limits and security headers."""
    return [
        middleware.Middleware(throttle.ThrottleMiddleware),
        middleware.Middleware(security.SecurityMiddleware, hosts=access.hosts),
    ]


def _content(views: pages.Pages, listing: lists.Lists, updates: live_updates.LiveUpdates) -> dict[str, View]:
    return {
        "/": views.overview,
        "/events": updates.events,
        "/runs": listing.runs,
        "/runs/{run}": views.run,
        "/fleets": listing.fleets,
        "/fleets/{fleet}": views.fleet,
        "/drivers": views.drivers,
    }


def protected(view: View, views: public_pages.PublicPages, people: sessions.Sessions, access: security.Access) -> View:
    """Return a view that is hidden while pages are locked, and asks for a sign-in without session and token."""

    async def checked(request: requests.Request) -> responses.Response:
        token = access.token
        sent = token is not None and security.token_matches(security.bearer_token(request), token)
        if sent or people.of(request) is not None:
            return await view(request)
        return views.login_page(target=request.url.path)

    if access.locked:
        return views.locked
    return view if access.anonymous_read else checked


def sign_in_routes(handlers: actions.SignIn, views: public_pages.PublicPages) -> list[routing.Route]:
    """Return the routes to sign in and out."""
    return [
        routing.Route("/login", views.login, methods=["GET"]),
        routing.Route("/login", handlers.login, methods=["POST"]),
        routing.Route("/logout", handlers.logout, methods=["POST"]),
    ]


def controls_app(
    handlers: actions.Requests, views: public_pages.PublicPages, *, otherwise: types.ASGIApp
) -> applications.Starlette:
    """Make the app of an account that another worker runs: it takes only the requests that every worker accepts."""
    made = applications.Starlette(
        routes=[*posted(handlers.sync, handlers.pause, handlers.resume), routing.Mount("/", app=otherwise)],
        exception_handlers=_error_handlers(views),
    )
    made.router.redirect_slashes = False
    return made


def _error_handlers(
    views: public_pages.PublicPages,
) -> dict[type[Exception], Callable[..., Awaitable[responses.Response]]]:
    return {
        exceptions.HTTPException: views.http_error,
        FleetSyncError: views.journal_error,
        Exception: views.defect,
    }


def posted(*handlers: View) -> list[routing.Route]:
    """Return a route for each handler, which has its name."""
    return [routing.Route(f"/{handler.__name__}", handler, methods=["POST"]) for handler in handlers]


def probes(unready_reason: Callable[[], str], render: Callable[[], tuple[bytes, str]]) -> list[routing.Route]:
    """Return the routes that are always open: `/healthz`, `/readyz` and `/metrics`."""

    async def healthz(request: requests.Request) -> responses.Response:
        return responses.PlainTextResponse("ok\n")

    async def readyz(request: requests.Request) -> responses.Response:
        reason = unready_reason()
        return responses.PlainTextResponse(f"{templating.printable(reason) or 'ready'}\n", 503 if reason else 200)

    async def exposition(request: requests.Request) -> responses.Response:
        content, media_type = render()
        return responses.Response(content, headers={"Content-Type": media_type})

    return [
        routing.Route("/healthz", healthz),
        routing.Route("/readyz", readyz),
        routing.Route("/metrics", exposition),
    ]


async def asset(request: requests.Request) -> responses.Response:
    """Answer `GET /static/{name}` from memory; only the names in `templating.ASSETS` exist."""
    if (asset := templating.ASSETS.get(request.path_params["name"])) is None:
        raise exceptions.HTTPException(404)
    content, media_type = asset
    headers = {"Content-Type": media_type, "Cache-Control": f"max-age={ASSET_MAX_AGE_SECONDS}"}
    return responses.Response(content, headers=headers)
