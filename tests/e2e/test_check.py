"""`fleet-sync check`: every problem with its position, without a request; with `--online` also references."""

import pathlib

from tests.e2e import conftest
from tests.support import command, served


def test_it_counts_what_is_right_and_needs_neither_key_nor_network(workspace: conftest.Workspace) -> None:
    with served.trap() as trap:
        environ = {
            "FLEET_SYNC_CONFIG": str(workspace.folder.settings),
            "FLEET_SYNC_CHARGE__BASE_URL": f"http://127.0.0.1:{trap.port}/v1",
        }
        ended = command.run("check", environ=environ)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == f"OK: 4 fleets, {len(workspace.people.memberships())} memberships; no request was made.\n"
    assert trap.caught == []


def test_every_problem_stands_on_a_line_of_its_own_with_its_place(workspace: conftest.Workspace) -> None:
    workspace.write("fleets:\n  Vans:\n    - 0123\n    - drv_short\n    - {driver: a@b.c, until: soon}\n")
    ended = workspace.run("check")
    assert ended.code == 1
    assert [line.split(": ")[0] for line in ended.stdout.splitlines()] == [
        "membership.yaml:3:7",
        "membership.yaml:4:7",
        "membership.yaml:5:30",
    ]
    assert ended.stderr == ""


def test_every_problem_of_the_settings_is_reported_at_once(workspace: conftest.Workspace) -> None:
    workspace.write("[charge]\npage_size = 0\ntimeout = 3\n[sync]\nmode = 'loose'\n", "bad.toml")
    ended = workspace.run("--config", "bad.toml", "check", FLEET_SYNC_RATE_LIMIT__BURST="none")
    places = [line.split(": ")[0] for line in ended.stdout.splitlines()]
    assert ended.code == 1
    assert {"bad.toml:2:13", "bad.toml:3:1", "bad.toml:5:8", "FLEET_SYNC_RATE_LIMIT__BURST"} <= set(places)


def test_duplicate_rows_are_harmless_and_reported(workspace: conftest.Workspace) -> None:
    fleet, *_ = members = workspace.members()
    workspace.write({fleet: [*members[fleet], members[fleet][0]]})
    ended = workspace.run("check")
    assert ended.code == 0
    assert f"{members[fleet][0]} in fleet {fleet} is also listed at membership.yaml:3:7; harmless" in ended.stdout


def test_online_it_tries_the_key_and_every_reference(workspace: conftest.Workspace) -> None:
    """Rows that start later are resolved too, so that a bad reference is known before they start."""
    ended = workspace.run("check", "--online")
    assert (ended.code, ended.stderr) == (0, "")
    fleet, *_ = workspace.members()
    workspace.write(
        f"fleets:\n  {fleet}:\n    - nobody@example.com\n"
        "    - {driver: employee_id=999, from: 2999-01-01}\n  No such fleet: []\n"
    )
    ended = workspace.run("check", "--online")
    assert ended.code == 4
    assert [line.split(": ")[0] for line in ended.stdout.splitlines()] == [
        "membership.yaml:3:7",
        "membership.yaml:4:16",
        "membership.yaml:5:3",
    ]
    assert workspace.posts() == []


def test_online_a_wrong_key_is_exit_1_with_a_remedy(workspace: conftest.Workspace) -> None:
    ended = workspace.run("check", "--online", CHARGE_API_KEY="ch_sk_test_wrong")
    assert (ended.code, ended.stdout) == (1, "")
    assert "401" in ended.stderr and "CHARGE_API_KEY" in ended.stderr
    ended = workspace.run("check", "--online", "--format", "json", CHARGE_API_KEY="ch_sk_test_wrong")
    assert (ended.code, ended.document["error"]["code"]) == (1, "key_rejected")
    ended = workspace.run("check", "--online", "--format", "json", CHARGE_API_KEY="")
    assert (ended.code, ended.document["error"]["code"]) == (1, "settings_invalid")


def test_what_every_run_would_fail_on_is_reported_without_a_request(workspace: conftest.Workspace) -> None:
    """Not even with `--online`; only the key has to wait for it."""
    settings = workspace.folder.settings.read_text()
    missing = '[[notify]]\nurl_file = "hook"\n[[notify]]\nkind = "slack"\nurl_file = "slack"\n'
    https = '[charge]\nbase_url = "https://127.0.0.1:1"\nca_file = "membership.yaml"\nproxy_url_file = "proxy"\n'
    rest = settings[settings.index("[[sources]]") :]
    workspace.write(f"{https}{missing}{rest}", "wrong.toml")
    environ = {"FLEET_SYNC_PLAN_KEY": "too short", "FLEET_SYNC_STATUS_TOKEN_FILE": "nowhere", "CHARGE_API_KEY": ""}
    for options in ([], ["--online"]):
        ended = workspace.run("--config", "wrong.toml", "check", "--format", "json", *options, **environ)
        assert (ended.code, ended.stderr) == (1, "")
        assert [problem["where"] for problem in ended.document["problems"]] == [
            "FLEET_SYNC_PLAN_KEY",
            "FLEET_SYNC_STATUS_TOKEN_FILE",
            "charge.proxy_url_file",
            "notify.url_file",
            "notify.url_file",
            "charge.ca_file",
        ]
        assert {problem["level"] for problem in ended.document["problems"]} == {"error"}


def test_what_every_run_would_fail_on_is_reported_with_the_problems_of_sources(workspace: conftest.Workspace) -> None:
    workspace.write("fleets:\n  Vans:\n    - 0123\n")
    ended = workspace.run("check", FLEET_SYNC_PLAN_KEY="too short")
    assert ended.code == 1
    assert [line.split(": ")[0] for line in ended.stdout.splitlines()] == ["FLEET_SYNC_PLAN_KEY", "membership.yaml:3:7"]


def test_online_a_membership_of_must_see_that_is_missing_is_reported(workspace: conftest.Workspace) -> None:
    """Every detach would be held until it is corrected."""
    fleet, other, *_ = members = workspace.members()
    elsewhere = next(driver for driver in members[other] if driver not in members[fleet])
    pairs = [f"{members[fleet][0]}/{fleet}", f"{elsewhere}/{fleet}"]
    settings = workspace.folder.settings.read_text()
    workspace.write(f"{settings}\n[guard]\nmust_see = {pairs}\n", "seen.toml")
    ended = workspace.run("--config", "seen.toml", "check", "--online")
    assert ended.code == 4
    (line,) = ended.stdout.splitlines()
    assert line.startswith(f"guard.must_see: {pairs[1]} was not seen in Charge")


def test_a_mapping_without_a_declared_scope_is_a_warning(workspace: conftest.Workspace) -> None:
    workspace.write("driver,fleet\nx@y,Vans\n", "hr.csv")
    rows = '[sources.rows]\ndriver = "{driver}"\nfleet = "{fleet}"\n'
    workspace.write(f'[[sources]]\npath = "hr.csv"\n{rows}', "hr.toml")
    ended = workspace.run("--config", "hr.toml", "check")
    assert ended.code == 0
    assert ended.stdout.startswith("hr.csv: without [sources.fleets], a fleet that no row names is not managed")
    workspace.write(f'[[sources]]\npath = "hr.csv"\n{rows}[sources.fleets]\nVans = "Vans"\n', "hr.toml")
    assert workspace.run("--config", "hr.toml", "check").stdout.startswith("OK: 1 fleet, 1 membership;")


def test_on_github_each_problem_is_an_annotation_at_its_line(workspace: conftest.Workspace) -> None:
    config = workspace.folder.path / "config"
    config.mkdir()
    workspace.folder.settings.rename(config / "fleet-sync.toml")
    (config / "membership.yaml").write_text("fleets:\n  Vans:\n    - 0123\n    - drv_short\n")
    environ = {"FLEET_SYNC_CONFIG": "config/fleet-sync.toml"}
    ended = command.run("check", "--format", "github", environ=environ, cwd=workspace.folder.path)
    assert ended.code == 1
    assert [line.partition("::0123")[0] for line in ended.stdout.splitlines()][1].startswith(
        "::error file=config/membership.yaml,line=4,col=7,title=fleet-sync::"
    )
    (config / "fleet-sync.toml").write_text("[[sources]]\npath = 'membership.yaml'\ncolour = 1\n")
    ended = command.run("check", "--format", "github", environ=environ, cwd=workspace.folder.path)
    assert ended.stdout.startswith("::error file=config/fleet-sync.toml,line=3,col=1,title=fleet-sync::")


def test_what_is_harmless_is_a_notice_and_the_summary_stays(workspace: conftest.Workspace) -> None:
    fleet, *_ = members = workspace.members()
    workspace.write({fleet: [*members[fleet], members[fleet][0]]})
    ended = workspace.run("check", "--format", "github")
    assert ended.code == 0
    notice, summary = ended.stdout.splitlines()
    assert notice.startswith("::notice file=membership.yaml,line=") and summary.startswith("OK: ")
    document = workspace.run("check", "--format", "json").document
    assert (document["format"], document["exit_code"]) == ("fleet-sync/check@1", 0)
    assert [problem["level"] for problem in document["problems"]] == ["notice"]


def test_a_document_lists_what_keeps_references_from_resolving(workspace: conftest.Workspace) -> None:
    fleet, *_ = workspace.members()
    workspace.write(f"fleets:\n  {fleet}:\n    - nobody@example.com\n")
    ended = workspace.run("check", "--online", "--format", "json")
    assert (ended.code, ended.document["exit_code"]) == (4, 4)
    [problem] = ended.document["problems"]
    assert (problem["level"], problem["where"]) == ("error", "membership.yaml:3:7")


def test_one_source_shows_what_it_yields_and_that_nothing_proves_it_whole(workspace: conftest.Workspace) -> None:
    ended = workspace.run("check", "--source", "membership.yaml", CHARGE_API_KEY="")
    count = len(workspace.people.memberships())
    assert (ended.code, ended.stderr) == (0, "")
    shown = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    assert shown["source"] == "membership.yaml"
    assert shown["rows"] == f"{count} ({count} memberships in 4 fleets)"
    assert shown["revision"].startswith("sha256:")
    assert shown["changed"].endswith(" UTC (just now)")
    assert ended.stdout.splitlines()[-1].startswith("proof: none (")


def test_the_source_to_show_must_exist_and_is_not_checked_online(workspace: conftest.Workspace) -> None:
    unknown, online = workspace.together(
        ["check", "--source", "hr"], ["check", "--source", "membership.yaml", "--online"]
    )
    assert (unknown.code, online.code) == (64, 64)
    assert "no source has the name hr: the sources are membership.yaml" in unknown.stderr
    assert "--source makes no request and prints text" in online.stderr


def test_a_source_that_is_not_whole_is_reported_with_its_places(workspace: conftest.Workspace) -> None:
    workspace.write("fleets:\n  Vans:\n    - 0123\n")
    ended = workspace.run("check", "--source", "membership.yaml")
    assert (ended.code, ended.stdout.split(": ")[0]) == (1, "membership.yaml:3:7")


def test_a_table_without_a_declared_scope_is_a_warning(workspace: conftest.Workspace) -> None:
    fleet, (driver, *_) = next(iter(workspace.members().items()))
    workspace.write(f"who,where\n{driver},{fleet}\n", "hr.csv")
    settings = workspace.folder.settings.read_text().replace('path = "membership.yaml"', MAPPED)
    workspace.folder.settings.write_text(settings)
    for ended in workspace.together(["check"], ["check", "--source", "people"]):
        assert ended.code == 0
        assert "people: without [sources.fleets], a fleet that no row names is not managed" in ended.stdout


MAPPED = """
name = "people"
path = "hr.csv"
rows = {driver = "{who}", fleet = "{where}"}
"""


def test_a_database_that_is_away_is_reported_in_the_form_that_was_asked_for(tmp_path: pathlib.Path) -> None:
    (tmp_path / "_defaults.toml").write_text('[cluster]\nurl = "postgresql://127.0.0.1:1/fleets"\n')
    as_text, as_document = (
        command.run("--config", str(tmp_path), "check", *arguments) for arguments in ([], ["--format", "json"])
    )
    assert (as_text.code, as_text.stdout) == (1, "")
    assert "127.0.0.1" in as_text.stderr
    assert (as_document.code, as_document.document["error"]["code"]) == (1, "journal_unwritable")
    assert "127.0.0.1" in as_document.document["error"]["message"]
