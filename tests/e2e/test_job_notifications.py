"""`once` tells its receivers what has changed since the run before, each run being a process of its own."""

import json
from typing import Any

from tests.e2e import conftest
from tests.support import served
from worker.sandbox import http_types


def test_a_job_tells_what_broke_and_that_it_works_again(workspace: conftest.Workspace) -> None:
    told: list[Any] = []

    async def hook(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        told.append(json.loads((await receive())["body"])["kind"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    sound = (workspace.folder.path / "membership.yaml").read_text()
    with served.over_http(hook) as url:
        for text, code in (("fleets: {}\n", 1), ("fleets: {}\n", 1), (sound, 0)):
            workspace.write(text)
            assert workspace.run("once", FLEET_SYNC_NOTIFY__URL=url).code == code
    assert told == ["broken", "recovered"]
