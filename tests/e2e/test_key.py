"""The key goes to the origin of `base_url` and nowhere else."""

import itertools
import json
import sys
from collections.abc import Callable

import pytest

from tests.e2e import conftest
from tests.support import command, served
from worker.sandbox import app, faults, http_types


def _without_key(workspace: conftest.Workspace, *runs: command.Ended) -> None:
    """Return every place where the runs left the key."""
    for ended in runs:
        assert app.KEY not in ended.stdout + ended.stderr
    left = [path for path in workspace.folder.path.rglob("*") if path.is_file()]
    assert workspace.folder.path / "fleet-sync.db" in left
    for path in left:
        assert app.KEY.encode() not in path.read_bytes(), path


def _echoing(inner: http_types.App) -> http_types.App:
    """Quote the key everywhere in answers; in every second answer with an escape sequence inside."""
    escaped = itertools.cycle((False, True))

    async def answer(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
        headers = dict(scope["headers"])
        key = headers[b"authorization"].removeprefix(b"Bearer ")

        async def quote(message: http_types.Message) -> None:
            if message["type"] == "http.response.start":
                kept = [header for header in message["headers"] if header[0] != b"content-length"]
                message["headers"] = [*kept, (b"request-id", b"req_" + key), (b"x-key", key)]
            elif message.get("body", b"").startswith(b"{"):
                document = json.loads(message["body"])
                for shown in (document, *(document.get("data") or ())):
                    for field in {"name", "message", "code"} & shown.keys():
                        shown[field] = f"Bearer {key.decode()}"
                text = json.dumps(document)
                message["body"] = (text.replace("ch_", r"\u0063h_") if next(escaped) else text).encode()
            await send(message)

        await inner(scope, receive, quote)

    return answer


def test_a_faulty_run_leaves_the_key_nowhere(open_workspace: conftest.Open) -> None:
    """With every quick fault and log level, and a server that quotes the key in names, messages, codes and headers."""
    slow = {"hang", "hang_after", "not_kept"} | faults.LATE
    once_each = sorted(faults.NAMES.keys() - faults.LISTS - faults.STICKY - slow)
    coming = itertools.chain.from_iterable((name, None) for name in once_each)
    workspace = open_workspace(goes_wrong=faults.Faults({"refused": 0.3}, script=coming), around=_echoing)
    fleet, *_ = members = workspace.members()
    newcomers = [driver for driver in workspace.people.drivers if driver not in members[fleet]]
    workspace.write({fleet: [*members[fleet], *newcomers]})
    runs = [
        workspace.run("--log-level", "debug", "once", "--json"),
        workspace.run("--log-level", "debug", "--log-format", "console", "once"),
        workspace.run("plan", "--out", "plan.json"),
    ]
    assert [ended.code for ended in runs] == [4, 4, 0]
    assert {request.fault for request in workspace.charge.requests} >= {*once_each}
    assert "request_retried" in runs[0].stderr
    _without_key(workspace, *runs)


def test_a_key_that_is_refused_is_not_shown(open_workspace: conftest.Open) -> None:
    workspace = open_workspace(around=_echoing)
    calls = (["--log-level", "debug", *arguments] for arguments in (["once", "--json"], ["check", "--online"]))
    for ended in workspace.together(*calls, CHARGE_API_KEY=f"{app.KEY}_old"):
        assert ended.code == 1
        assert app.KEY not in ended.stdout + ended.stderr


def _leading_to(url: str, *, status: int) -> Callable[[http_types.App], http_types.App]:
    """Send clients to another origin: by a redirect, or by the next page of every list."""

    def around(inner: http_types.App) -> http_types.App:
        async def answer(scope: http_types.Scope, receive: http_types.Receive, send: http_types.Send) -> None:
            async def mislead(message: http_types.Message) -> None:
                if message["type"] == "http.response.start":
                    kept = [header for header in message["headers"] if header[0] != b"content-length"]
                    message["status"] = status
                    message["headers"] = [*kept, (b"location", url.encode())]
                elif b"next_page_url" in message.get("body", b""):
                    message["body"] = json.dumps({**json.loads(message["body"]), "next_page_url": url}).encode()
                await send(message)

            await inner(scope, receive, mislead)

        return answer

    return around


@pytest.mark.parametrize("status", [200, 307])
def test_foreign_pages_and_redirects_receive_nothing(open_workspace: conftest.Open, status: int) -> None:
    with served.trap() as trap:
        around = _leading_to(f"http://127.0.0.1:{trap.port}/v1/drivers?page=2", status=status)
        ended = open_workspace(around=around).run("once", "--json")
    assert ended.code == 1
    assert ended.document["error"]["message"]
    assert trap.caught == []


def test_proxies_and_passwords_of_the_environment_are_not_asked(workspace: conftest.Workspace) -> None:
    workspace.write("machine 127.0.0.1 login somebody password else\n", ".netrc")
    workspace.write(
        workspace.folder.settings.read_text().replace(workspace.url, "https://charge.invalid/v1"), "far.toml"
    )
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    with served.trap() as trap:
        environ = {**dict.fromkeys(names, f"http://127.0.0.1:{trap.port}"), "HOME": str(workspace.folder.path)}
        near, far = workspace.together(
            ["plan"], ["--config", "far.toml", "plan"], FLEET_SYNC_RETRY__MAX_ATTEMPTS="1", **environ
        )
    assert (near.code, far.code) == (0, 1)
    assert trap.caught == []
    assert all(request.authorized for request in workspace.charge.requests)


def test_a_key_that_was_rotated_is_read_again_and_the_run_completes(workspace: conftest.Workspace) -> None:
    """Story: a vault rotated the key between two requests."""
    vault = workspace.write(
        "import pathlib, sys\n"
        "read_before = pathlib.Path('read-before')\n"
        f"key = {app.KEY[:4]!r} + {app.KEY[4:]!r} if read_before.exists() else 'ch_sk_test_expired'\n"
        "read_before.touch()\n"
        "sys.stdout.write(key)\n",
        "vault.py",
    )
    fleet, *_ = members = workspace.members()
    newcomer = next(driver for driver in workspace.people.drivers if driver not in members[fleet])
    workspace.write({fleet: [*members[fleet], newcomer]})
    del workspace.folder.environ["CHARGE_API_KEY"]
    ended = workspace.run("once", "--json", FLEET_SYNC_CHARGE__API_KEY_COMMAND=json.dumps([sys.executable, str(vault)]))
    assert ended.code == 0, ended.stderr
    assert workspace.changed() == [("attach", newcomer, fleet)]
    assert [request.status for request in workspace.charge.requests].count(401) == 1
    _without_key(workspace, ended)


def test_a_key_that_is_pasted_as_an_argument_is_in_no_message(workspace: conftest.Workspace) -> None:
    """Messages end up in the logs of schedulers and pipelines."""
    key = f"ch_sk_live_{'x' * 24}"
    pasted = [[key], ["schema", key], ["audit", "--since", key], ["why", key], ["--config", key, "plan"]]
    for ended in workspace.together(*pasted, ["--account", key, "plan"], ["plan", "--fleet", key], ["apply", key]):
        assert ended.code in (1, 64)
        assert "ch_sk_" not in f"{ended.stdout}{ended.stderr}".replace("ch_sk_…", "")
