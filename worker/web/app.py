"""The service's HTTP side as an ASGI app: probes, metrics, the status page, and what may be asked with the token.

Invariant: nothing changes without the token, and without one configured nothing can be changed at all. Neighbours:
`views` is the service, `pages` and `feed` show it, `orders` asks it, `armour` goes around everything.
"""

from collections.abc import Collection

from starlette import applications, exceptions, middleware, requests, responses, routing

from worker.core.model.errors import FleetSyncError
from worker.core.model.secret import Secret
from worker.web import actions, fragments, live_updates, metrics, pages, security, service_protocol, templating

ASSET_SECONDS = 86_400


def create(
    service: service_protocol.ServiceProtocol,
    counted: metrics.Metrics,
    *,
    token: Secret | None,
    hosts: Collection[str] = (),
) -> applications.Starlette:
    """Make the app. `hosts` restricts the names it is served under; `app.state.feed` ends live streams."""
    parts = fragments.Fragments(service, approvable=token is not None)
    shown = pages.Pages(service, parts)
    stream = live_updates.LiveUpdates(service, parts.drawn)
    routes = [
        *_probes(service, counted),
        routing.Route("/", shown.overview),
        routing.Route("/events", stream.events),
        routing.Route("/runs/{run}", shown.run),
        routing.Route("/fleets/{fleet}", shown.fleet),
        routing.Route("/drivers", shown.drivers),
        routing.Route("/static/{name}", _asset),
    ]
    if token is not None:
        asked = actions.Actions(service, token)
        routes.append(routing.Route("/sync", asked.sync, methods=["POST"]))
        routes.append(routing.Route("/approve", asked.approve, methods=["POST"]))
    app = applications.Starlette(
        routes=routes,
        middleware=[middleware.Middleware(security.SecurityMiddleware, hosts=hosts)],
        exception_handlers={
            exceptions.HTTPException: shown.refused,
            FleetSyncError: shown.failed,
            Exception: shown.crashed,
        },
    )
    app.router.redirect_slashes = False
    app.state.feed = stream
    return app


def _probes(service: service_protocol.ServiceProtocol, counted: metrics.Metrics) -> list[routing.Route]:
    async def healthz(request: requests.Request) -> responses.Response:
        return responses.PlainTextResponse("ok\n")

    async def readyz(request: requests.Request) -> responses.Response:
        reason = service.ready()
        return responses.PlainTextResponse(f"{templating.printable(reason) or 'ready'}\n", 503 if reason else 200)

    async def exposed(request: requests.Request) -> responses.Response:
        content, media = counted.render(service.snapshot())
        return responses.Response(content, headers={"Content-Type": media})

    return [
        routing.Route("/healthz", healthz),
        routing.Route("/readyz", readyz),
        routing.Route("/metrics", exposed),
    ]


async def _asset(request: requests.Request) -> responses.Response:
    """Answer `GET /static/{name}`: from memory, and only what is ours."""
    if (asset := templating.ASSETS.get(request.path_params["name"])) is None:
        raise exceptions.HTTPException(404)
    content, media = asset
    return responses.Response(content, headers={"Content-Type": media, "Cache-Control": f"max-age={ASSET_SECONDS}"})
