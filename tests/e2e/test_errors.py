"""Every error around the program ends with a message and an exit code, never with a traceback."""

from tests.e2e import conftest
from tests.support import command
from worker.sandbox import faults


def _check(ended: command.Ended, *, code: int = 1) -> command.Ended:
    assert "Traceback" not in ended.stderr
    assert ended.code == code, ended
    return ended


def _told(ended: command.Ended) -> str:
    """Return the message of the error document that a failing command with `--json` prints."""
    _check(ended)
    assert ended.stderr == ""
    document = ended.document
    assert document["exit_code"] == 1
    assert set(document["error"]) == {"code", "message", "remedy"} and document["error"]["remedy"]
    message: str = document["error"]["message"]
    return message


def test_unusable_settings_are_one_document(workspace: conftest.Workspace) -> None:
    workspace.write("[charge\n", "bad.toml")
    workspace.write("\0\ufffd", "binary.toml")
    said = {
        "bad.toml": "bad.toml:1:8: invalid TOML",
        "binary.toml": "binary.toml:1:1: ",
        "missing.toml": "missing.toml: settings file not found",
    }
    runs = workspace.together(*(["--config", name, "once", "--json"] for name in said))
    for start, ended in zip(said.values(), runs, strict=True):
        assert _told(ended).startswith(start)


def test_no_key_is_one_document(workspace: conftest.Workspace) -> None:
    ended = command.run("plan", "--json", environ={"FLEET_SYNC_CONFIG": str(workspace.folder.settings)})
    assert _told(ended).startswith("CHARGE_API_KEY: no secret key")


def test_what_is_no_plan_is_refused(workspace: conftest.Workspace) -> None:
    workspace.write("no plan", "text.json")
    workspace.write('{"x":' + "[" * 99_999, "deep.json")
    text, deep, missing = workspace.together(
        *(["apply", f"{name}.json", "--json"] for name in ("text", "deep", "missing"))
    )
    assert _told(text).startswith("text.json is not a saved plan")
    assert _told(deep).startswith("deep.json is not a saved plan")
    assert _told(missing).startswith("missing.json cannot be read")


def test_a_server_that_is_not_there_is_exit_1(workspace: conftest.Workspace) -> None:
    for name, url in {"refused": "http://127.0.0.1:1/v1", "unknown": "https://charge.invalid/v1"}.items():
        workspace.write(workspace.folder.settings.read_text().replace(workspace.url, url), f"{name}.toml")
    calls = [["--config", f"{name}.toml", "export"] for name in ("refused", "unknown")]
    both = workspace.together(*calls, FLEET_SYNC_RETRY__MAX_ATTEMPTS="2")
    for ended, host in zip(both, ("127.0.0.1", "charge.invalid"), strict=True):
        assert f"no connection to {host} could be made" in _check(ended).stderr
        assert ended.stdout == ""


def test_a_server_that_answers_nothing_useful_is_exit_1(workspace: conftest.Workspace) -> None:
    accidents = ["html", "html_200", "truncated", "wrong_types", "500", "reset_before"]
    workspace.charge.faults = faults.Faults(script=accidents * 2)
    ended = _check(workspace.run("export", FLEET_SYNC_RETRY__MAX_ATTEMPTS="6"))
    assert ended.stderr.startswith("error: the list of fleets cannot be read")
    assert [request.fault for request in workspace.charge.requests] == accidents * 2


def test_a_server_that_hangs_is_given_up_after_its_deadline(workspace: conftest.Workspace) -> None:
    workspace.charge.faults = faults.Faults({"hang": 1.0})
    ended = workspace.run("plan", FLEET_SYNC_CHARGE__TIMEOUT_SECONDS="1", FLEET_SYNC_RETRY__MAX_ATTEMPTS="1")
    assert "no complete reply within 1 s" in _check(ended).stderr
