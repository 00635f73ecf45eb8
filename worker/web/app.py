"""The service's HTTP side as an ASGI app: probes, metrics, the status page, and requests that need the token.

Invariant: nothing changes without the token, and nothing can be changed if none is configured. Neighbours:
`service_protocol` is the service, `pages` and `live_updates` show it, `actions` changes it, `throttle` and
`security` wrap every request.
"""

from collections.abc import Awaitable, Callable, Collection

from starlette import applications, exceptions, middleware, requests, responses, routing

from worker.core.model.errors import FleetSyncError
from worker.core.model.secret import Secret
from worker.web import (
    actions,
    fragments,
    lists,
    live_updates,
    metrics,
    pages,
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
    *,
    token: Secret | None,
    hosts: Collection[str] = (),
    locked: bool = False,
    anonymous_read: bool = True,
) -> applications.Starlette:
    """Make the app. `app.state.live_updates` ends open streams.

    `hosts` are the only host names it answers to; empty: any. `locked` hides the pages from everybody, and without
    `anonymous_read` they are shown to those only who signed in or send the token.
    """
    people = sessions.Sessions(token, now=lambda: service.snapshot().now)
    overview = fragments.Fragments(service, approvable=token is not None)
    views = pages.Pages(service, overview, people, can_sign_in=token is not None)
    updates = live_updates.LiveUpdates(service, overview)
    routes = [*_probes(service, gauges), routing.Route("/static/{name}", _asset)]
    for path, view in _content(views, lists.Lists(service, views.page), updates).items():
        readable = view if anonymous_read else _for_people(view, views, people, token)
        routes.append(routing.Route(path, views.locked if locked else readable))
    if token is not None:
        routes += _actions(actions.Actions(service, token, people, show_login=views.login_page), views)
    app = applications.Starlette(
        routes=routes,
        middleware=[
            middleware.Middleware(throttle.ThrottleMiddleware),
            middleware.Middleware(security.SecurityMiddleware, hosts=hosts),
        ],
        exception_handlers={
            exceptions.HTTPException: views.http_error,
            FleetSyncError: views.journal_error,
            Exception: views.defect,
        },
    )
    app.router.redirect_slashes = False
    app.state.live_updates = updates
    return app


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


def _for_people(view: View, views: pages.Pages, people: sessions.Sessions, token: Secret | None) -> View:
    """Return a view that asks everybody to sign in who neither has nor sends the token."""

    async def checked(request: requests.Request) -> responses.Response:
        sent = token is not None and security.token_matches(security.bearer_token(request), token)
        if sent or people.of(request) is not None:
            return await view(request)
        return views.login_page(target=request.url.path)

    return checked


def _actions(handlers: actions.Actions, views: pages.Pages) -> list[routing.Route]:
    posted = (
        handlers.login,
        handlers.logout,
        handlers.sync,
        handlers.approve,
        handlers.pause,
        handlers.resume,
    )
    return [
        routing.Route("/login", views.login, methods=["GET"]),
        *(routing.Route(f"/{handler.__name__}", handler, methods=["POST"]) for handler in posted),
    ]


def _probes(service: service_protocol.ServiceProtocol, gauges: metrics.Metrics) -> list[routing.Route]:
    async def healthz(request: requests.Request) -> responses.Response:
        return responses.PlainTextResponse("ok\n")

    async def readyz(request: requests.Request) -> responses.Response:
        reason = service.unready_reason()
        return responses.PlainTextResponse(f"{templating.printable(reason) or 'ready'}\n", 503 if reason else 200)

    async def exposition(request: requests.Request) -> responses.Response:
        content, media_type = gauges.render(service.snapshot())
        return responses.Response(content, headers={"Content-Type": media_type})

    return [
        routing.Route("/healthz", healthz),
        routing.Route("/readyz", readyz),
        routing.Route("/metrics", exposition),
    ]


async def _asset(request: requests.Request) -> responses.Response:
    """Answer `GET /static/{name}` from memory; only the names in `templating.ASSETS` exist."""
    if (asset := templating.ASSETS.get(request.path_params["name"])) is None:
        raise exceptions.HTTPException(404)
    content, media_type = asset
    headers = {"Content-Type": media_type, "Cache-Control": f"max-age={ASSET_MAX_AGE_SECONDS}"}
    return responses.Response(content, headers=headers)
