"""The command line on a folder of accounts: which account is meant, and what would be meant for all."""

import datetime
import pathlib
import sys

import pytest

from worker.accounts import registry
from worker.cli import accounts, context, main

NOW = datetime.datetime(2026, 10, 5, 8, tzinfo=datetime.UTC)
SOURCE = '[[sources]]\npath = "people.yaml"\n'


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a folder of two accounts that read one document."""
    for name in ("acme", "bolt"):
        (tmp_path / f"{name}.toml").write_text(SOURCE)
    (tmp_path / "_defaults.toml").write_text('[secrets]\nkind = "env"\n')
    (tmp_path / "people.yaml").write_text(f"fleets:\n  flt_{'a' * 32}:\n    drivers: [drv_{'b' * 32}]\n")
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | pathlib.Path) -> int:
    """Call the command line as the console script does, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["fleet-sync", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    "command",
    [
        ["plan"],
        ["init"],
        ["once"],
        ["history"],
        ["export"],
        ["pause"],
        ["approve", "sha256:" + "a" * 64],
        ["check", "--online"],
        ["check", "--source", "people.yaml"],
        ["run", "--adopt-journal"],
    ],
    ids=" ".join,
)
def test_a_command_about_one_account_asks_which_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path, command: list[str]
) -> None:
    assert call(monkeypatch, "--config", folder, *command) == main.USAGE
    assert "add --account NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    "variable", ["CHARGE_API_KEY", "CHARGE_API_KEY_FILE", "FLEET_SYNC_SYNC__MODE", "FLEET_SYNC_STATUS_LISTEN"]
)
@pytest.mark.parametrize("command", [["check"], ["run"], ["--account", "acme", "plan"]], ids=" ".join)
def test_a_variable_that_would_be_for_every_account_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: pathlib.Path,
    variable: str,
    command: list[str],
) -> None:
    monkeypatch.setenv(variable, "ch_sk_test_for_all")
    assert call(monkeypatch, "--config", folder, *command) == main.USAGE
    stderr = capsys.readouterr().err
    assert variable in stderr
    assert "unset it" in stderr
    assert "ch_sk_test_for_all" not in stderr


def test_several_variables_that_would_be_for_every_account_are_named_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    for variable in ("CHARGE_API_KEY", "FLEET_SYNC_SYNC__MODE"):
        monkeypatch.setenv(variable, "x")
    assert call(monkeypatch, "--config", folder, "check") == main.USAGE
    stderr = " ".join(capsys.readouterr().err.split())
    assert "CHARGE_API_KEY, FLEET_SYNC_SYNC__MODE would be for all accounts" in stderr
    assert "unset them" in stderr


def test_a_command_that_is_about_one_account_asks_for_its_name_where_all_are_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    (folder / "people.yaml").unlink()
    assert call(monkeypatch, "--config", folder, "check") == 1
    assert f"`fleet-sync --config {folder} --account NAME export`" in capsys.readouterr().out


def test_what_the_runs_of_any_account_would_fail_on_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    monkeypatch.setenv("FLEET_SYNC_PLAN_KEY", "too short")
    (folder / "bolt.toml").write_text(f"{SOURCE}\n[notify]\nurl_file = 'hook'\n")
    assert call(monkeypatch, "--config", folder, "check") == 1
    places = [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert places == ["FLEET_SYNC_PLAN_KEY", "notify.url_file"]


@pytest.mark.parametrize("variable", ["FLEET_SYNC_JOURNAL__URL", "CHARGE_API_KEY"])
def test_a_variable_of_the_image_is_switched_off_by_an_empty_one(
    monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path, variable: str
) -> None:
    monkeypatch.setenv(variable, "")
    assert call(monkeypatch, "--config", folder, "check") == 0


def test_an_account_without_a_folder_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path) -> None:
    assert call(monkeypatch, "--config", folder / "acme.toml", "--account", "acme", "plan") == main.USAGE


def test_a_file_is_not_used_without_the_defaults_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    assert call(monkeypatch, "--config", folder / "acme.toml", "once") == main.USAGE
    assert f"--config {folder} --account acme" in capsys.readouterr().err
    (folder / "_defaults.toml").unlink()
    assert call(monkeypatch, "--config", folder / "acme.toml", "check") == 0


def test_a_named_account_has_its_own_settings(folder: pathlib.Path) -> None:
    found = context.CommandContext(config=str(folder), log_format="auto", log_level=None, account="bolt")
    assert found.settings().account == "bolt"
    assert found.folder == folder
    assert not found.has_all_accounts


def test_an_unknown_account_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    assert call(monkeypatch, "--config", folder, "--account", "clef", "plan") == 1
    assert "clef.toml: settings file not found" in capsys.readouterr().err


class TestInit:
    """A new account of the folder."""

    def test_it_writes_the_files_of_the_account(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
    ) -> None:
        (folder / "_defaults.toml").write_text(
            '[charge]\nbase_url = "https://charge.example.com/v2"\n[secrets]\nkind = "env"\n'
        )
        assert call(monkeypatch, "--config", folder, "--account", "clef", "init") == 0
        assert capsys.readouterr().out == (
            f"Wrote {folder}/clef.toml and {folder}/clef.yaml.\n"
            f"Write your fleets and drivers into {folder}/clef.yaml. Then:\n"
            "  export CHARGE_API_KEY__CLEF=…  # its secret key\n"
            f"  fleet-sync --config {folder} --account clef check --online\n"
            f"  fleet-sync --config {folder} --account clef plan\n"
        )
        assert 'base_url = "https://charge.example.com/v2"' in (folder / "clef.toml").read_text()
        assert call(monkeypatch, "--config", folder, "check") == 0

    @pytest.mark.parametrize(
        ("secrets", "step"),
        [
            ('path = "keys/{account}"', "\n  # write its secret key to {folder}/keys/clef\n  fleet-sync "),
            ('kind = "command"\ncommand = ["pass", "{account}"]', "Then:\n  fleet-sync "),
        ],
    )
    def test_it_says_where_the_key_belongs(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        folder: pathlib.Path,
        secrets: str,
        step: str,
    ) -> None:
        (folder / "_defaults.toml").write_text(f"[secrets]\n{secrets}\n")
        assert call(monkeypatch, "--config", folder, "--account", "clef", "init") == 0
        assert step.format(folder=folder) in capsys.readouterr().out

    def test_it_overwrites_nothing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
    ) -> None:
        assert call(monkeypatch, "--config", folder, "--account", "acme", "init") == 1
        assert "acme.toml: this file exists already" in capsys.readouterr().err
        assert (folder / "acme.toml").read_text() == SOURCE
        assert not (folder / "acme.yaml").exists()

    @pytest.mark.parametrize("name", ["../clef", "", "_defaults", "a b", "x" * 64])
    def test_a_name_that_no_account_can_have_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path, name: str
    ) -> None:
        before = {path.name: path.read_text() for path in folder.iterdir()}
        assert call(monkeypatch, "--config", folder, "--account", name, "init") == 1
        assert {path.name: path.read_text() for path in folder.iterdir()} == before

    def test_an_account_without_a_folder_is_wrong_usage(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
    ) -> None:
        assert call(monkeypatch, "--config", tmp_path / "new.toml", "--account", "acme", "init") == main.USAGE

    def test_the_folder_in_which_the_command_runs_is_a_folder_too(
        self, monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path
    ) -> None:
        monkeypatch.chdir(folder)
        assert call(monkeypatch, "--config", ".", "init") == main.USAGE
        assert call(monkeypatch, "--config", ".", "--account", "clef", "init") == 0
        assert (folder / "clef.yaml").exists()


class TestCheck:
    def test_it_checks_every_account(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
    ) -> None:
        assert call(monkeypatch, "--config", folder, "check") == 0
        assert capsys.readouterr().out == "OK: 2 accounts, 2 fleets, 2 memberships; no request was made.\n"

    def test_it_prints_the_problems_of_all_of_them(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
    ) -> None:
        (folder / "acme.toml").write_text("[sync]\ninterval_seconds = -1\n")
        (folder / "bolt.toml").write_text('[[sources]]\npath = "nowhere.yaml"\n')
        (folder / "clef.toml").write_text(SOURCE)
        assert call(monkeypatch, "--config", folder, "check") == 1
        stdout = capsys.readouterr().out
        assert f"{folder}/acme.toml:2:20: sync.interval_seconds" in stdout
        assert "nowhere.yaml" in stdout
        assert "OK" not in stdout and "clef" not in stdout

    @pytest.mark.parametrize(
        ("names", "shared", "said"),
        [
            (
                ("dent", "echo"),
                '[journal]\nurl = "sqlite:///one.db"\n',
                "echo.toml: the account dent has the same journal",
            ),
            (("dent-1", "dent_1"), "", "dent_1.toml: the account dent-1 has the same variable for its key"),
        ],
    )
    def test_it_finds_what_two_accounts_would_share(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        folder: pathlib.Path,
        names: tuple[str, str],
        shared: str,
        said: str,
    ) -> None:
        for name in names:
            (folder / f"{name}.toml").write_text(SOURCE + shared)
        assert call(monkeypatch, "--config", folder, "check") == 1
        assert capsys.readouterr().out.strip() == said

    def test_defaults_that_are_invalid_are_reported_once(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
    ) -> None:
        (folder / "_defaults.toml").write_text("[sync]\ninterval_seconds = -1\n")
        assert call(monkeypatch, "--config", folder, "check") == 1
        assert capsys.readouterr().out.count("interval_seconds") == 1


@pytest.mark.parametrize(
    ("name", "written", "says"),
    [
        ("acme", None, "settings file not found"),
        ("acme", "[sync]\n", "acme.txt:1:1: at least one source is required"),
        ("a b", SOURCE, "Give the account another name."),
    ],
)
def test_where_a_file_cannot_be_added_to_a_cluster_the_remedy_is_about_this_file(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
    name: str,
    written: str | None,
    says: str,
) -> None:
    """A check of the cluster would find nothing, and `init` makes no accounts of one."""
    (tmp_path / "_defaults.toml").write_text('[cluster]\nurl = "postgresql://127.0.0.1:1/none"\n')
    if written is not None:
        (tmp_path / "acme.txt").write_text(written)
    assert call(monkeypatch, "--config", tmp_path, "accounts", "add", name, "--file", tmp_path / "acme.txt") == 1
    error = capsys.readouterr().err
    assert says in error
    assert "add it again" in error or name != "acme"
    assert " check`" not in error and " init`" not in error


def test_the_accounts_of_a_cluster_are_listed_in_columns_and_say_nothing_twice() -> None:
    long = "a-customer-with-an-unusually-long-name"
    listed = [
        registry.RegisteredAccount("acme", "in_sync", "In sync: 2 fleets, 6 memberships", NOW, NOW, 0, 1, "host-1"),
        registry.RegisteredAccount("bolt-2", "attention", "5 detaches are held", NOW, NOW, 0, 1, None),
        registry.RegisteredAccount(long, None, None, None, NOW, 0, 0, None),
    ]
    assert accounts.lines(listed) == [
        "acme    in sync: 2 fleets, 6 memberships  (on host-1)",
        "bolt-2  attention: 5 detaches are held",
        f"{long}  new",
    ]


def test_the_accounts_of_a_cluster_are_a_document_too() -> None:
    listed = [
        registry.RegisteredAccount("acme", "in_sync", "In sync: 2 fleets", NOW, NOW, 3, 7, "host-1"),
        registry.RegisteredAccount("bolt", None, None, None, NOW, 0, 0, None),
    ]
    new = {"account": "bolt", "condition": None, "gist": None, "last_success": None, "worker": None}
    assert accounts.document(listed) == {
        "format": "fleet-sync/accounts@1",
        "accounts": [
            {
                "account": "acme",
                "condition": "in_sync",
                "gist": "In sync: 2 fleets",
                "last_success": "2026-10-05T08:00:00.000Z",
                "due_at": "2026-10-05T08:00:00.000Z",
                "failures": 3,
                "epoch": 7,
                "worker": "host-1",
            },
            {**new, "due_at": "2026-10-05T08:00:00.000Z", "failures": 0, "epoch": 0},
        ],
    }


@pytest.mark.parametrize(
    "command", [["list"], ["remove", "acme"], ["add", "acme", "--file", "acme.toml"]], ids=" ".join
)
def test_what_is_about_the_accounts_of_a_cluster_is_about_no_single_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path, command: list[str]
) -> None:
    assert call(monkeypatch, "--config", folder, "--account", "acme", "accounts", *command) == main.USAGE
    assert "leave --account out" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["list"], ["remove", "acme"]], ids=" ".join)
def test_a_folder_that_is_no_cluster_has_no_accounts_to_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path, command: list[str]
) -> None:
    assert call(monkeypatch, "--config", folder, "accounts", *command) == 1
    assert "it has no section [cluster]" in capsys.readouterr().err
    assert call(monkeypatch, "--config", folder / "acme.toml", "accounts", *command) == main.USAGE
    assert "pass --config FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["run"], "the accounts of a cluster are run by `fleet-sync --config {folder} worker`"),
        (["--account", "acme", "init"], "the accounts of a cluster are added with `fleet-sync "),
    ],
    ids=["run", "init"],
)
def test_the_accounts_of_a_cluster_are_run_and_added_otherwise(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
    command: list[str],
    said: str,
) -> None:
    (tmp_path / "_defaults.toml").write_text('[cluster]\nurl = "postgresql://127.0.0.1:1/none"\n')
    assert call(monkeypatch, "--config", tmp_path, *command) == main.USAGE
    assert said.format(folder=tmp_path) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["_defaults.toml"]


def test_a_named_account_of_a_cluster_is_looked_up_in_its_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    """A file beside `_defaults.toml` is none of its accounts."""
    (folder / "_defaults.toml").write_text('[cluster]\nurl = "postgresql://127.0.0.1:1/none"\n')
    assert call(monkeypatch, "--config", folder, "--account", "acme", "history") == 1
    assert "127.0.0.1" in capsys.readouterr().err
