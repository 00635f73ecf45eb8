"""`once` tells its receivers what has changed since the run before, each run being a process of its own."""

import json
import signal
import threading
from typing import Any

import anyio

from tests.e2e import conftest
from tests.support import command, served
from worker.sandbox import http_types


def test_a_job_reports_what_broke_and_that_it_works_again(workspace: conftest.Workspace) -> None:
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


def test_a_receiver_that_does_not_answer_keeps_no_job_from_ending(workspace: conftest.Workspace) -> None:
    """A second signal ends the delivery, too. The result is that of the run, which had ended."""
    arrived = threading.Event()

    async def hook(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        arrived.set()
        await anyio.sleep_forever()

    workspace.write("fleets: {}\n")
    with (
        served.over_http(hook) as url,
        workspace.folder.started("once", FLEET_SYNC_NOTIFY__URL=url, FLEET_SYNC_SYNC__DRAIN_SECONDS="600") as running,
    ):
        command.until(arrived.is_set, what="a notification")
        running.signal(signal.SIGTERM)
        stderr = running.process.stderr
        assert stderr is not None
        command.until(lambda: "stopping" in stderr.readline(), what="the first signal noticed")
        running.signal(signal.SIGTERM)
        ended = running.end()
    assert ended.code == 1
    assert "no response within" not in ended.stderr, "it did not wait for the receiver"
    assert "Traceback" not in ended.stderr
