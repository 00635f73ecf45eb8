"""`approve`: which plan an approval allows, what it says, and how it is kept with the run that used it."""

import json
import re
import signal

import pytest

from tests.e2e import conftest
from tests.support import command


def test_an_approval_allows_exactly_the_plan_of_its_digest(workspace: conftest.Workspace) -> None:
    halved = workspace.halved()
    workspace.write(halved)
    held = workspace.run("once", "--json").document["plan"]
    assert workspace.run("approve", held["held_digest"], **conftest.NO_KEY).code == 0

    # The approval does not cover another plan, even a smaller one.
    spared = held["held"][0]
    workspace.write({**halved, spared["fleet"]: [*halved[spared["fleet"]], spared["driver"]]})
    assert workspace.run("once").code == 3
    assert workspace.posts() == []

    workspace.write(halved)
    report = workspace.run("once", "--json").document
    assert (report["result"], report["plan"]["held"]) == ("converged", [])
    assert set(workspace.changed()) == {("detach", each["driver"], each["fleet"]) for each in held["held"]}


def test_an_approval_says_what_it_allows(workspace: conftest.Workspace) -> None:
    workspace.write(workspace.halved())
    plan = workspace.run("once", "--json").document["plan"]
    said = workspace.run("approve", plan["held_digest"], **conftest.NO_KEY).stdout.splitlines()
    assert said[0].startswith("Approved until ")
    assert re.fullmatch(
        rf"It allows the {len(plan['held'])} changes that {workspace.newest_run()} held at .* UTC\.", said[1]
    )


def test_an_approval_of_what_nobody_holds_is_kept_and_says_so(workspace: conftest.Workspace) -> None:
    """An approval may precede the run, but a mistyped digest would silently approve nothing."""
    digest = f"sha256:{'0' * 64}"
    before = workspace.run("approve", digest, **conftest.NO_KEY)
    assert (before.code, before.stderr) == (0, "warning: No recent run has held changes with this digest yet.\n")
    workspace.write(workspace.halved())
    held = workspace.run("once", "--json").document["plan"]["held_digest"]
    other = workspace.run("approve", digest, **conftest.NO_KEY)
    assert other.code == 0
    assert other.stderr == (
        f"warning: No recent run has held changes with this digest yet. "
        f"The newest run with held changes is {workspace.newest_run()}; their digest is {held}\n"
    )
    assert workspace.folder.journal("select digest from approvals") == [(digest,)]


def test_changes_that_pass_anyway_do_not_void_an_approval(workspace: conftest.Workspace) -> None:
    """The digest of the whole plan approves nothing, and says which one does."""
    newcomer, other, *_ = (each for each in workspace.people.drivers if not workspace.people.fleets_of(each))
    halved = workspace.halved()
    first = next(iter(halved))
    workspace.write({**halved, first: [*halved[first], newcomer]})
    plan = workspace.run("once", "--json").document["plan"]
    said = workspace.run("approve", plan["digest"], **conftest.NO_KEY).stderr
    assert "It allows nothing: this is the digest of the whole plan. To approve its held changes: fleet-sync " in said
    assert said.split()[-1] == plan["held_digest"]
    assert "It allows the " in workspace.run("approve", plan["held_digest"], **conftest.NO_KEY).stdout
    workspace.write({**halved, first: [*halved[first], newcomer, other]})
    assert workspace.run("once").code == 0


def test_an_approval_of_what_no_approval_lifts_says_so(workspace: conftest.Workspace) -> None:
    fleet, other, *_ = members = workspace.members()
    outsider = next(driver for driver in workspace.people.drivers if driver not in workspace.people.members(other))
    workspace.write({**members, fleet: members[fleet][1:]})
    sentinels = json.dumps([f"{outsider}/{other}"])
    digest = workspace.run("once", "--json", FLEET_SYNC_GUARD__MUST_SEE=sentinels).document["plan"]["held_digest"]
    assert "warning: It allows nothing: " in workspace.run("approve", digest, **conftest.NO_KEY).stderr


def test_who_approved_is_kept_with_the_run_that_used_the_approval(workspace: conftest.Workspace) -> None:
    """Also when the same digest is approved again, by somebody else, for the same mistake."""
    everyone, halved = workspace.members(), workspace.halved()
    workspace.folder.let_sources_shrink()
    for name in ("Ada Lovelace", "Bob"):
        workspace.write(halved)
        digest = workspace.run("once", "--json").document["plan"]["held_digest"]
        assert workspace.run("approve", digest, "--by", f" {name} ", **conftest.NO_KEY).stderr == ""
        assert workspace.run("once").code == 0
        workspace.write(everyone)
        assert workspace.run("once").code == 0
    runs = json.loads(workspace.run("history", "--json").stdout)["runs"]
    used = [each for each in runs if each["approval"]]
    assert [each["approval"]["by"] for each in used] == ["Bob", "Ada Lovelace"]
    assert [each["approval"]["digest"] for each in used] == [digest, digest]
    assert "applied, approved by Bob  " in workspace.run("history").stdout
    audited = [json.loads(line) for line in workspace.run("audit").stdout.splitlines()]
    approved = [line for line in audited if line.get("approved_digest")]
    assert [(line["record"], line["approved_by"]) for line in approved] == [("run", "Ada Lovelace"), ("run", "Bob")]
    assert all(line["approved_digest"] == digest and line["approved"] for line in approved)
    shown = workspace.run("show", used[1]["run"])
    assert re.search(rf"\n  approved by Ada Lovelace at \d{{4}}-.*Z: {digest}\n", shown.stdout)
    assert workspace.run("show", used[1]["run"], "--json").document["approval"] == used[1]["approval"]


def test_an_approval_by_the_run_itself_is_kept_too(workspace: conftest.Workspace) -> None:
    workspace.write(workspace.halved())
    digest = workspace.run("once", "--json").document["plan"]["held_digest"]
    assert workspace.run("once", "--approve", digest).code == 0
    newest, _ = json.loads(workspace.run("history", "--json").stdout)["runs"]
    assert newest["approval"] == {"digest": digest, "by": None, "approved": None}
    assert f"approved with the run itself: {digest}" in workspace.run("show", newest["run"]).stdout


@pytest.mark.parametrize("name", ["", " ", "a\tb", "x" * 101], ids=["empty", "spaces", "tab", "long"])
def test_an_approval_takes_only_a_name_that_fits_on_a_line(workspace: conftest.Workspace, name: str) -> None:
    ended = workspace.run("approve", f"sha256:{'0' * 64}", "--by", name)
    assert (ended.code, workspace.folder.path.joinpath("fleet-sync.db").exists()) == (64, False)


def test_an_approval_finds_the_run_that_held_it_behind_newer_ones(workspace: conftest.Workspace) -> None:
    halved = workspace.halved()
    workspace.write(halved)
    earlier = workspace.run("once", "--json").document["plan"]["held_digest"]
    first, *others = halved
    workspace.write({first: workspace.members()[first], **{fleet: halved[fleet] for fleet in others}})
    assert workspace.run("once", "--json").document["plan"]["held_digest"] != earlier
    workspace.write(workspace.members())
    assert workspace.run("once").code == 0
    assert "It allows the " in workspace.run("approve", earlier, **conftest.NO_KEY).stdout


def test_the_service_picks_an_approval_up(workspace: conftest.Workspace) -> None:
    halved = workspace.halved()
    workspace.write(halved)
    digest = workspace.run("plan", "--json").document["held_digest"]
    requests = len(workspace.charge.requests)
    with workspace.folder.started("run", FLEET_SYNC_SYNC__INTERVAL_SECONDS="0.2") as running:
        command.until(lambda: len(workspace.charge.requests) > requests, what="a first run")
        assert workspace.run("approve", digest).code == 0
        command.until(lambda: workspace.members() == {f: sorted(d) for f, d in halved.items()}, what="the detaches")
        running.signal(signal.SIGTERM)
        assert running.end().code == 143
