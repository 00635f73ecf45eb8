"""What every command prints on a terminal of 80 columns: no word is cut at its edge, and no reason is said twice."""

import re

from tests.e2e import conftest, terminal
from worker.cli import layout, main
from worker.sandbox import quirks, state

VANS = "東京都千代田区 配送センター 第一車両隊"
TAXIS = "Flotte régionale Auvergne-Rhône-Alpes des véhicules utilitaires électriques"
NAMES = ("山田太郎", "Anneliese Freifrau von Hohenfels-Braunschweig-Wolfenbüttel", "José", "Nguyễn Thị Minh Khai")
ADDRESS = "a.rather.long.address.of.somebody.who.has.no.name@subsidiary.example.com"
SAVED = "a-plan-whose-name-takes-nearly-a-whole-line-of-the-terminal-by-itself.json"

WALK = (
    "check",
    "check --source membership.yaml",
    "check --online",
    "plan --out plan.json",
    "plan --fleet {vans} --out {saved}",
    "plan --out no/such/folder/plan.json",
    "once",
    "--log-level info once",
    "history",
    "show {run}",
    "why {driver}",
    "why José",
    "why nobody",
    "audit",
    "audit --format text --since {run}",
    "approve {digest} --by Ada",
    "approve sha256:" + "0" * 64,
    "pause --fleet {vans} --for 2h --reason migration-of-the-HR-system-and-of-everything-that-depends-on-it",
    "plan",
    "resume",
    "undo {run}",
    "undo {run} --out back.json",
    "apply plan.json",
    "apply plan.json",
    "forget {driver}",
    "show run_nowhere",
    "sources",
    "init",
    "accounts list",
    "worker",
    "--config nowhere.toml run",
    "sandbox --port 70000",
    "demo",
)
"""What one operator types in one folder, one after the other."""

DOCUMENTS = {"export", "schema", "completion"}
"""Commands that print a document as it is, for files and programs."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _account() -> state.SandboxState:
    people = state.SandboxState()
    vans, taxis = people.add_fleet(name=VANS), people.add_fleet(name=TAXIS)
    for number in range(24):
        people.add_driver(name=f"{NAMES[number % 4]} {number}", fleets=[vans if number % 2 else taxis])
    people.add_driver(name=ADDRESS)
    people.add_driver(name="José")
    return people


def test_no_command_is_left_out() -> None:
    assert {word for line in WALK for word in line.split() if word in main.COMMANDS} | DOCUMENTS == set(main.COMMANDS)


def test_no_word_is_cut_and_no_reason_is_said_twice(open_workspace: conftest.Open) -> None:
    people = _account()
    vans, taxis = people.fleets
    nameless, jose = list(people.drivers)[-2:]
    workspace = open_workspace(people, behaves=quirks.Quirks(forbidden=frozenset({nameless})))
    members = workspace.members()
    workspace.write({vans: [*members[vans][5:], nameless], taxis: [*members[taxis][5:], jose, members[vans][9], jose]})
    digest, reasons = _held(workspace)
    words = {"vans": vans, "driver": nameless, "digest": digest, "run": "run_", "saved": SAVED}
    for line in WALK:
        arguments = [each.format(**words) for each in line.split()]
        _, seen = terminal.on_terminal(workspace, *arguments, TERM="dumb")
        plain = _CONTROL.sub("", seen).replace("\r", "")
        for each in plain.split("\n"):
            assert layout.cells(each) <= terminal.COLUMNS or " " not in each.strip(), f"{line}: {each!r}"
        said = " ".join(plain.split())
        assert not [reason for reason in reasons if said.count(reason) > 1], f"{line}:\n{plain}"
        if line == "once":
            words["run"] = workspace.newest_run()
            assert [reason for reason in reasons if reason in said]


def _held(workspace: conftest.Workspace) -> tuple[str, set[str]]:
    plan = workspace.run("plan", "--json").document
    return plan["held_digest"], {each["message"] for each in plan["held"]}
