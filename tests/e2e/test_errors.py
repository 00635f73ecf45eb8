"""Everything that can be wrong around the program ends in words and an exit code, never in a traceback."""

import time

import pytest

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import faults, messages


def _check(ended: command.Ended, *, code: int = 1) -> command.Ended:
    assert "Traceback" not in ended.stderr
    assert ended.code == code, ended
    return ended


def _told(ended: command.Ended) -> str:
    """Give the one error document that a failing command with `--json` prints, as its message."""
    _check(ended)
    assert ended.stderr == ""
    document = ended.document
    assert document["exit_code"] == 1
    assert set(document["error"]) == {"code", "message", "remedy"} and document["error"]["remedy"]
    message: str = document["error"]["message"]
    return message


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("bad.toml", "[charge\n", "bad.toml:1:8:"),
        ("missing.toml", None, "missing.toml: there is no settings file"),
        (".", None, ".: it cannot be read"),
        ("binary.toml", "\0\ufffd", "binary.toml:1:1:"),
    ],
)
def test_unusable_settings_are_one_document(desk: conftest.Desk, name: str, text: str | None, said: str) -> None:
    if text is not None:
        desk.write(text, name)
    assert _told(desk.run("--config", name, "once", "--json")).startswith(said)


def test_no_key_is_one_document(desk: conftest.Desk) -> None:
    ended = command.run("plan", "--json", environ={"FLEET_SYNC_CONFIG": str(desk.folder.settings)})
    assert _told(ended).startswith("CHARGE_API_KEY: there is no secret key")


@pytest.mark.parametrize(
    "text",
    ["no plan", '{"format": "fleet-sync/plan@1", "digest": 1}', '{"x":' + "[" * 99_999],
    ids=["text", "types", "deep"],
)
def test_a_file_that_is_no_plan_is_refused(desk: conftest.Desk, text: str) -> None:
    desk.write(text, "plan.json")
    assert _told(desk.run("apply", "plan.json", "--json")).startswith("plan.json is no saved plan")


def test_a_plan_that_is_not_there_is_refused(desk: conftest.Desk) -> None:
    assert "cannot be read" in _told(desk.run("apply", "plan.json", "--json"))


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://127.0.0.1:1/v1", "no connection could be made"), ("https://charge.invalid/v1", "no connection")],
    ids=["refused", "no such host"],
)
def test_a_server_that_is_not_there_is_exit_1(desk: conftest.Desk, url: str, said: str) -> None:
    ended = desk.run("export", FLEET_SYNC_CHARGE__BASE_URL=url, FLEET_SYNC_RETRY__MAX_ATTEMPTS="2")
    assert said in _check(ended).stderr
    assert ended.stdout == ""


def test_a_server_that_answers_nothing_useful_is_exit_1(desk: conftest.Desk) -> None:
    accidents = ["html", "html_200", "truncated", "wrong_types", "500", "reset_before"]
    desk.charge.faults = faults.Faults(script=accidents * 2)
    ended = _check(desk.run("export", FLEET_SYNC_RETRY__MAX_ATTEMPTS="6"))
    assert ended.stderr.startswith("error: the list of fleets cannot be read")
    assert [request.fault for request in desk.charge.requests] == accidents * 2


def test_a_server_that_hangs_is_given_up_after_its_deadline(desk: conftest.Desk) -> None:
    desk.charge.faults = faults.Faults({"hang": 1.0})
    begun = time.monotonic()
    ended = desk.run("plan", FLEET_SYNC_CHARGE__TIMEOUT_SECONDS="1", FLEET_SYNC_RETRY__MAX_ATTEMPTS="1")
    assert time.monotonic() - begun < 10
    assert "no whole answer within 1 s" in _check(ended).stderr


def test_a_server_that_is_no_http_is_exit_1(open_desk: conftest.Open) -> None:
    def silent(_inner: messages.App) -> messages.App:
        async def answer(scope: messages.Scope, receive: messages.Receive, send: messages.Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

        return answer

    desk = open_desk(around=silent)
    assert "no JSON" in _check(desk.run("plan", FLEET_SYNC_RETRY__MAX_ATTEMPTS="1")).stderr
