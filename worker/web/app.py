"""The service's HTTP side as an ASGI app: probes, metrics, the status page, and requests that need the token.

Invariant: nothing changes without the token, and nothing can be changed if none is configured. Neighbours:
`service_protocol` is the service, `pages` and `live_updates` show it, `actions` changes it, `throttle` and
`security` wrap every request.
"""

from collections.abc import Collection

from starlette import applications, exceptions, middleware, requests, responses, routing

from worker.core.model.errors import FleetSyncError
from worker.core.model.secret import Secret
from worker.web import (
    actions,
    fragments,
    live_updates,
    metrics,
    pages,
    security,
    service_protocol,
    templating,
    throttle,
)

ASSET_MAX_AGE_SECONDS = 86_400


def create(
    service: service_protocol.ServiceProtocol,
    gauges: metrics.Metrics,
    *,
    token: Secret | None,
    hosts: Collection[str] = (),
    locked: bool = False,
) -> applications.Starlette:
    """Make the app. `app.state.live_updates` ends open streams.

    `hosts` are the only host names it answers to; empty: any. `locked` hides the pages from readers.
    """
    overview = fragments.Fragments(service, approvable=token is not None)
    views = pages.Pages(service, overview)
    updates = live_updates.LiveUpdates(service, overview)
    content = {
        "/": views.overview,
        "/events": updates.events,
        "/runs/{run}": views.run,
        "/fleets/{fleet}": views.fleet,
        "/drivers": views.drivers,
    }
    routes = [
        *_probes(service, gauges),
        *(routing.Route(path, views.locked if locked else view) for path, view in content.items()),
        routing.Route("/static/{name}", _asset),
    ]
    if token is not None:
        handlers = actions.Actions(service, token)
        routes.append(routing.Route("/sync", handlers.sync, methods=["POST"]))
        routes.append(routing.Route("/approve", handlers.approve, methods=["POST"]))
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
