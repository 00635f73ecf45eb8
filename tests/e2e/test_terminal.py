"""Output on a terminal: the layout of a plan, colors and the progress bar."""

import os
import pty
import re

import pytest

from tests.e2e import conftest, terminal
from tests.support import command
from worker.sandbox import quirks, state

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\x1b\[[0-9;]*m")


def _desk_with_work(open_workspace: conftest.Open, **options: quirks.Quirks) -> conftest.Workspace:
    """Ask for one attach, for one detach that passes, and for six that a guard holds."""
    people = state.SandboxState()
    vans, taxis = people.add_fleet(name="Paris vans"), people.add_fleet(name="Lyon taxis")
    drivers = [people.add_driver(name=f"Driver {number:02}", fleets=[vans]) for number in range(20)]
    cabs = [people.add_driver(name=f"Cabbie {number:02}", fleets=[taxis]) for number in range(60)]
    newcomer = people.add_driver(name="\x1b[31mEve\x07 \x9b2J\u202e\x1b]0;owned\x07")
    workspace = open_workspace(people, **options)
    workspace.write({vans: drivers[6:], taxis: [*cabs[1:], newcomer]})
    return workspace


def test_a_plan_reads_like_a_page(open_workspace: conftest.Open) -> None:
    workspace = _desk_with_work(open_workspace)
    vans, taxis = workspace.people.fleets
    ended = workspace.run("plan")
    assert ended.code == 3
    page = ended.stdout
    newcomer, leaver = list(workspace.people.drivers)[-1], list(workspace.people.drivers)[20]
    assert re.search(rf"Lyon taxis  {taxis}\n  \+ .*Eve.*  {newcomer}  membership\.yaml:\d+:7\n", page)
    assert re.search(rf"\n  - Cabbie 00 +  {leaver}\n", page)
    assert "Held back: 6 detaches\n" in page
    assert f"Paris vans  {vans}: 6 of 20 memberships of this fleet (30" in page
    assert page.count("  - Driver 0") == 6
    assert "\n  fleet-sync once --approve sha256:" in page
    assert "\nPlan: 1 to attach, 1 to detach, 6 held; 73 memberships in 2 fleets already in sync.\n" in page
    assert re.search(r"\nThis takes about \d+ requests, 0\.0 s at 2000 per second\.\n$", page)
    assert not {letter for letter in page if not letter.isprintable()} - {"\n"}


def test_a_run_shows_what_it_did_and_what_it_could_not(open_workspace: conftest.Open) -> None:
    workspace = _desk_with_work(open_workspace, behaves=quirks.Quirks(read_only=True))
    ended = workspace.run("once")
    assert ended.code == 4
    assert "Not made\n" in ended.stdout
    assert re.search(
        r"Lyon taxis  flt_\w+: refused: 403: This key may not write\. \(\w+\)\n  \+ .*Eve.*  drv_\w+  req_\w+\n",
        ended.stdout,
    )
    assert "Not everything could be done: 2 refused, in " in ended.stdout
    assert re.search(r"\n\d+ reads, 2 writes; 0 retried, 0 rate limited\.\n$", ended.stdout)


def test_a_terminal_gets_colours_and_a_bar_that_is_gone_before_the_result(open_workspace: conftest.Open) -> None:
    workspace = _desk_with_work(open_workspace, behaves=quirks.Quirks(latency_seconds=0.1))
    code, seen = terminal.on_terminal(workspace, "once")
    assert code == 3
    assert "\x1b[32m+\x1b[0m " in seen and "\x1b[31m-\x1b[0m Cabbie 00 " in seen
    assert "Reading fleets" in seen and "━" in seen and "Changing memberships" in seen
    assert "\x07" not in seen and "\x9b" not in seen and "\x1b]" not in seen and "\x1b[31mEve" not in seen
    # The row of the bar is erased before anything is printed there.
    before, _, after = seen.partition("Lyon taxis")
    assert _STYLE.sub("", before).endswith("\x1b[2K")
    assert "Reading" not in _CONTROL.sub("", after.rpartition("\x1b[2K")[2])
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h")
    digest = re.search(r"--approve \\\r\n +sha256:[0-9a-f]{64}\r\n", seen)
    assert digest, "the digest is on one line, and the command can be copied"


@pytest.mark.parametrize("command_line", ["plan", "once", "history", "--log-level info once", "plan --out plan.json"])
def test_nothing_is_wider_than_80_columns(open_workspace: conftest.Open, command_line: str) -> None:
    workspace = _desk_with_work(open_workspace)
    workspace.write(workspace.folder.path.joinpath("membership.yaml").read_text() + '  "No such fleet": []\n')
    for _ in range(2):
        _, seen = terminal.on_terminal(workspace, *command_line.split(), TERM="dumb")
        assert max(map(len, seen.splitlines())) <= 80, seen
    assert "2 fleets already" in seen or "history" in command_line


def test_a_plan_that_is_longer_than_the_terminal_goes_through_the_pager(open_workspace: conftest.Open) -> None:
    workspace = _desk_with_work(open_workspace)
    pager = workspace.write("#!/bin/sh\nenv > pager.env\nsed 's/^/| /'\n", "pager")
    pager.chmod(0o700)
    _, seen = terminal.on_terminal(workspace, "plan", rows=10, PAGER=str(pager))
    assert "| Plan: 1 to attach, 1 to detach" in seen
    # The pager may start other programs: it gets no secret.
    passed = workspace.folder.path.joinpath("pager.env").read_text()
    assert "LESS=FRX" in passed and "CHARGE" not in passed and "FLEET_SYNC" not in passed
    for arguments, rows, environ in (
        (["plan"], 40, {}),
        (["plan", "--json"], 10, {}),
        (["once"], 10, {}),
        (["plan"], 10, {"TERM": "dumb"}),
        (["plan"], 10, {"PAGER": "/no/such/pager"}),
    ):
        _, seen = terminal.on_terminal(workspace, *arguments, rows=rows, **{"PAGER": str(pager), **environ})
        assert "| " not in seen and "attach" in seen


def test_a_host_that_cannot_be_reached_is_reported_at_once(workspace: conftest.Workspace) -> None:
    """The warning comes before the first retry, not after all of them."""
    code, seen = terminal.on_terminal(
        workspace, "plan", FLEET_SYNC_CHARGE__BASE_URL="http://127.0.0.1:1/v1", FLEET_SYNC_RETRY__MAX_ATTEMPTS="2"
    )
    assert code == 1
    assert seen.count("charge_unreachable") == 1
    assert seen.index("charge_unreachable") < seen.index("error:")


def test_colors_can_be_asked_for_and_refused(open_workspace: conftest.Open) -> None:
    workspace = _desk_with_work(open_workspace)
    assert "\x1b[32m+" in workspace.run("--color", "always", "plan").stdout
    assert "\x1b[" not in workspace.run("plan").stdout
    _, seen = terminal.on_terminal(workspace, "--color", "never", "--log-level", "info", "once")
    assert "membership_attach" in seen
    assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-9])m", seen)
    _, seen = terminal.on_terminal(workspace, "--color", "always", "plan", NO_COLOR="1")
    assert "\x1b[31m-" in seen, "an option wins over the environment"


def test_no_color_means_none(open_workspace: conftest.Open) -> None:
    workspace = _desk_with_work(open_workspace)
    for arguments in (["--log-level", "info", "once"], ["apply", "nothing.json"]):
        _, seen = terminal.on_terminal(workspace, *arguments, NO_COLOR="1")
        assert "membership_attach" in seen or "nothing.json cannot be read" in seen
        assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-9])m", seen)


def test_a_dumb_terminal_gets_plain_lines(open_workspace: conftest.Open) -> None:
    workspace = _desk_with_work(open_workspace, behaves=quirks.Quirks(latency_seconds=0.1))
    code, seen = terminal.on_terminal(workspace, "--log-level", "info", "once", TERM="dumb")
    assert code == 3
    assert "membership_attach" in seen and "1 to attach" in seen
    assert "\x1b" not in seen


def test_log_lines_and_the_bar_keep_out_of_each_others_way(open_workspace: conftest.Open) -> None:
    """A line starts in an empty row, and the bar is drawn again below it."""
    workspace = _desk_with_work(open_workspace, behaves=quirks.Quirks(latency_seconds=0.1))
    _, seen = terminal.on_terminal(workspace, "--log-level", "info", "once")
    found = list(re.finditer(r"\S*\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", seen))
    assert len(found) == 2
    for each in found:
        before = re.split(r"\x1b\[2K|\n", seen[: each.start()])[-1]
        assert _CONTROL.sub("", before).strip("\r") == ""
    assert "Changing memberships" in seen[found[0].end() :]


@pytest.mark.parametrize(
    ("options", "as_json", "logged"),
    [([], [], 0), ([], ["--json"], 2), (["--log-level", "warning"], [], 2)],
    ids=["by itself", "with a document", "when asked for"],
)
def test_what_was_not_made_is_reported_once(
    open_workspace: conftest.Open, options: list[str], as_json: list[str], logged: int
) -> None:
    """The result lists it; it is logged if there is no text result or a log level is given."""
    workspace = _desk_with_work(open_workspace, behaves=quirks.Quirks(read_only=True))
    code, seen = terminal.on_terminal(workspace, *options, "once", *as_json)
    assert code == 4
    assert len(re.findall(r"membership_(?:at|de)tach", seen)) == logged
    assert ("Not made" in seen) is not bool(as_json)


def test_what_is_piped_from_a_terminal_arrives_whole(workspace: conftest.Workspace) -> None:
    """The bar goes to the terminal, the document to the file."""
    ours, theirs = pty.openpty()
    process = command.start("export", "--format", "json", environ=workspace.folder.environ, stderr=theirs)
    os.close(theirs)
    ended = process.end()
    os.close(ours)
    assert ended.code == 0
    assert ended.document["fleets"].keys() == workspace.people.fleets.keys()
