"""An httpx transport that calls the sandbox in process, without a socket.

Invariant: a client sees what it would see over a socket, including a reset connection and a truncated body.
Neighbours: `worker.sandbox.app` answers; `worker.sandbox.server` serves the same on a real port.
"""

from collections.abc import AsyncIterator

import httpx

from worker.sandbox import app, faults, http_types


class _CutBody(httpx.AsyncByteStream):
    """The part of a body that arrived before the connection ended."""

    def __init__(self, part: bytes) -> None:
        self._part = part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._part
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, sandbox: app.Sandbox) -> None:
        self._sandbox = sandbox

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent: list[http_types.Message] = []

        async def answer(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
            async def overhear(message: http_types.Message) -> None:
                sent.append(message)
                await send(message)

            await self._sandbox(scope, receive, overhear)

        try:
            return await httpx.ASGITransport(answer).handle_async_request(request)
        except faults.ConnectionReset as error:
            raise httpx.ReadError("connection reset by peer", request=request) from error
        except faults.ConnectionCut:
            start, *parts = sent
            body = b"".join(part["body"] for part in parts)
            return httpx.Response(start["status"], headers=start["headers"], stream=_CutBody(body))


def transport(sandbox: app.Sandbox) -> httpx.AsyncBaseTransport:
    """Return a transport that reaches this sandbox at any origin, under asyncio and trio."""
    return _Transport(sandbox)


def client(sandbox: app.Sandbox, *, key: str = app.KEY) -> httpx.AsyncClient:
    """Return a plain httpx client of this sandbox with paths relative to `/v1/`."""
    return httpx.AsyncClient(
        transport=transport(sandbox), base_url="http://charge.test/v1/", headers={"Authorization": f"Bearer {key}"}
    )


async def walk(api: httpx.AsyncClient, path: str, *, most: int = 1000) -> list[list[str]]:
    """Return the ids of each page of a list, following it to its end."""
    pages: list[list[str]] = []
    following: str | None = path
    while following is not None and len(pages) < most:
        page = (await api.get(following)).raise_for_status().json()
        pages.append([item["id"] for item in page["data"] or ()])
        following = page["next_page_url"]
    return pages
