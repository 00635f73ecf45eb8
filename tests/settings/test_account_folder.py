"""A folder of accounts: what is merged, what is refused, and where each problem is."""

import os
import pathlib

import pytest

from worker.core.model.errors import SettingsError
from worker.settings import account_folder, loader, model, secrets

SOURCE = '[[sources]]\npath = "people.yaml"\n'


def load(folder: pathlib.Path, name: str = "acme") -> model.Settings:
    return account_folder.load(folder, name, account_folder.read_defaults(folder))


def problems(folder: pathlib.Path, name: str = "acme") -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(folder, name)
    return [str(each).removeprefix(f"{folder}/") for each in raised.value.problems]


def write(folder: pathlib.Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)


def test_an_account_needs_nothing_but_its_sources(tmp_path: pathlib.Path) -> None:
    write(tmp_path, acme=SOURCE)
    settings = load(tmp_path)
    assert settings.account == "acme"
    assert settings.journal_url == f"sqlite:///{tmp_path}/acme.db"
    assert settings.resolve_path("people.yaml") == tmp_path / "people.yaml"
    assert settings.key_place == model.KeyPlace(
        file="/run/secrets/fleet-sync/acme/charge-api-key", setting="secrets.path"
    )


def test_defaults_are_beneath_every_account_key_by_key(tmp_path: pathlib.Path) -> None:
    write(
        tmp_path,
        _defaults="[sync]\ninterval_seconds = 60.0\ndetach_grace_seconds = 5.0\n[journal]\nurl = 'sqlite:///j/{account}'",
        acme=f"[sync]\ninterval_seconds = 30.0\n{SOURCE}",
    )
    settings = load(tmp_path)
    assert (settings.sync.interval_seconds, settings.sync.detach_grace_seconds) == (30.0, 5.0)
    assert settings.journal_url == f"sqlite:///{tmp_path}/j/acme"


def test_lists_of_an_account_replace_those_of_the_defaults(tmp_path: pathlib.Path) -> None:
    write(tmp_path, _defaults='[[sources]]\npath = "all.yaml"\n', acme=SOURCE, bolt="")
    assert [source.title for source in load(tmp_path).sources] == ["people.yaml"]
    assert [source.title for source in load(tmp_path, "bolt").sources] == ["all.yaml"]


def test_a_journal_in_postgresql_has_each_account_under_its_name(tmp_path: pathlib.Path) -> None:
    write(tmp_path, _defaults='[journal]\nurl = "postgresql://db/journal"\n', acme=SOURCE)
    assert load(tmp_path).journal_account == "acme"


def test_a_file_for_one_account_has_the_same_name_in_its_journal_as_alone(tmp_path: pathlib.Path) -> None:
    write(tmp_path, acme=SOURCE)
    assert load(tmp_path).journal_account == model.Settings.model_validate({"sources": [{"path": "x"}]}).journal_account


def test_each_problem_is_reported_where_it_is_written(tmp_path: pathlib.Path) -> None:
    write(tmp_path, acme=f"[sync]\ninterval_seconds = -1\n{SOURCE}[rate_limits]\n")
    assert [each.partition(": ")[0] for each in problems(tmp_path)] == ["acme.toml:2:20", "acme.toml:5:2"]


def test_a_problem_of_the_defaults_is_reported_once_and_there(tmp_path: pathlib.Path) -> None:
    write(tmp_path, _defaults="[sync]\ninterval_seconds = -1\n", acme=SOURCE)
    with pytest.raises(SettingsError) as raised:
        account_folder.read_defaults(tmp_path)
    assert str(raised.value.problems[0]).startswith(f"{tmp_path}/_defaults.toml:2:20: sync.interval_seconds")


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ('[charge]\napi_key_file = "key"', "_defaults.toml:2:16: charge.api_key_file: this would be the key of every"),
        ('[charge]\napi_key_command = ["k"]', "_defaults.toml:2:19: charge.api_key_command: this would be the key of"),
        ('[journal]\nurl = "sqlite:///all.db"', "_defaults.toml:2:7: journal.url: each account needs a journal of its"),
        ('[secrets]\npath = "/run/key"', "_defaults.toml:2:8: secrets.path: write {account} where the name"),
        ('[secrets]\nkind = "command"', "_defaults.toml:1:1: secrets.command: write {account} where the name"),
        ('[secrets]\ncommand = ["a", "{account}"]', "_defaults.toml:2:11: secrets.command: it is used with kind"),
        ('[secrets]\nkind = "vault"', "_defaults.toml:2:8: secrets.kind: write"),
        (
            '[secrets]\nfile = "x"',
            '_defaults.toml:2:1: unknown key "file" in secrets: its keys are kind, path, command',
        ),
        ("secrets = 5", "_defaults.toml:1:11: secrets must be a section: write [secrets], and its keys below it"),
        ('[status]\nlisten = "nowhere"', "_defaults.toml:2:10: status.listen: "),
        (
            "[clusters]\n",
            '_defaults.toml:1:2: unknown section "clusters": the sections are charge, sources, sync, rate_limit, '
            'retry, guard, journal, status, notify, secrets, cluster; did you mean "cluster"?',
        ),
        ("[pace]\n", "_defaults.toml:1:2: [pace] is now [rate_limit]"),
        ("[cluster]\n", "_defaults.toml:1:1: cluster: write url_file, the file with the address of the database"),
        ('[cluster]\nurl = "sqlite:///a"', "_defaults.toml:2:7: cluster.url: not a database of PostgreSQL"),
        ('[cluster]\nurl = "postgresql://a"\nurl_file = "b"', "_defaults.toml:3:12: cluster.url_file: cluster.url is"),
        ('[cluster]\nurl_file = "b"\nstall_seconds = 2', "_defaults.toml:3:17: cluster.stall_seconds: must not be"),
        (
            '[cluster]\nurl_file = "b"\n[journal]\nurl = "postgresql://a"',
            "_defaults.toml:4:7: journal.url: the journal is in the cluster's database: remove this key",
        ),
    ],
)
def test_what_cannot_be_a_default_is_refused_with_its_place(tmp_path: pathlib.Path, defaults: str, said: str) -> None:
    write(tmp_path, _defaults=defaults)
    with pytest.raises(SettingsError) as raised:
        account_folder.read_defaults(tmp_path)
    assert str(raised.value.problems[0]).removeprefix(f"{tmp_path}/").startswith(said)


def of_cluster(folder: pathlib.Path, written: str, name: str = "acme") -> model.Settings:
    defaults, layer = account_folder.read_defaults(folder), loader.parse(f"{name}.toml", written.encode())
    return account_folder.of_cluster(name, layer, folder=folder, defaults=defaults, database="postgresql://db/fleets")


def test_an_account_of_a_cluster_has_its_journal_under_its_name_in_the_database_of_the_cluster(
    tmp_path: pathlib.Path,
) -> None:
    write(tmp_path, _defaults='[cluster]\nurl_file = "database"\n[journal]\nkeep_days = 7\n')
    settings = of_cluster(tmp_path, SOURCE)
    assert (settings.journal_url, settings.journal_account) == ("postgresql://db/fleets", "acme")
    assert settings.journal.keep_days == 7
    assert settings.resolve_path("people.yaml") == tmp_path / "people.yaml"
    assert settings.key_place == model.KeyPlace(
        file="/run/secrets/fleet-sync/acme/charge-api-key", setting="secrets.path"
    )


def test_an_account_of_a_cluster_is_refused_what_an_account_of_a_folder_is_refused(tmp_path: pathlib.Path) -> None:
    write(tmp_path, _defaults='[cluster]\nurl_file = "database"\n')
    for name, written, said in (
        ("acme", f"{SOURCE}[journal]\nurl = 'postgresql://x'", "acme.toml:4:7: journal.url: the journal is in the"),
        ("acme", f"{SOURCE}[cluster]", "acme.toml:3:1: cluster is about all accounts"),
        ("acme", "[sync", "acme.toml:1:6: "),
        ("acme", "", "acme.toml:1:1: at least one source is required"),
        ("a b", SOURCE, "a b: not the name of an account"),
    ):
        with pytest.raises(SettingsError) as raised:
            of_cluster(tmp_path, written, name)
        assert str(raised.value.problems[0]).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cluster.url_file: cannot read the file"),
        ("\n", "the file is empty: write the address to it"),
        ("mysql://db", "not a database of PostgreSQL: write it like postgresql://db.example.com/fleet-sync"),
    ],
)
def test_the_address_of_a_cluster_is_in_its_file(tmp_path: pathlib.Path, content: str | None, said: str) -> None:
    cluster = account_folder.Cluster(url_file="database")
    if content is not None:
        (tmp_path / "database").write_text(content)
    with pytest.raises(SettingsError) as raised:
        secrets.database_address(cluster, tmp_path)
    assert said in str(raised.value)
    (tmp_path / "database").write_text("postgresql://u:p@db/fleets\n")
    assert secrets.database_address(cluster, tmp_path).reveal() == "postgresql://u:p@db/fleets"
    written = account_folder.Cluster(url="postgresql://db/fleets")
    assert secrets.database_address(written, tmp_path).reveal() == "postgresql://db/fleets"


@pytest.mark.parametrize("section", ["status", "secrets", "cluster"])
def test_what_is_about_all_accounts_is_refused_in_the_file_of_one(tmp_path: pathlib.Path, section: str) -> None:
    write(tmp_path, acme=f"{SOURCE}[{section}]\n")
    assert problems(tmp_path) == [f"acme.toml:3:1: {section} is about all accounts: write it into _defaults.toml"]


def test_a_name_that_could_lead_elsewhere_is_no_account(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a b.toml").write_text(SOURCE)
    assert problems(tmp_path, "a b")[0].startswith("a b.toml: not the name of an account")
    assert problems(tmp_path, "../other")[0].startswith("../other.toml: not the name of an account")


def test_a_look_sees_the_accounts_and_the_defaults_and_nothing_else(tmp_path: pathlib.Path) -> None:
    write(tmp_path, acme=SOURCE, bolt="", _defaults="", _other="")
    (tmp_path / ".acme.toml").write_text("")
    (tmp_path / "people.yaml").write_text("")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nowhere")
    assert account_folder.scan(tmp_path).keys() == {"acme", "bolt", "_defaults.toml"}
    assert account_folder.names(tmp_path) == ["acme", "bolt"]


def test_a_file_that_cannot_be_looked_at_hides_no_other(tmp_path: pathlib.Path) -> None:
    write(tmp_path, acme=SOURCE)
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "far.toml").symlink_to("x" * 300)
    assert account_folder.names(tmp_path) == ["acme", "far", "loop"]
    assert problems(tmp_path, "far") == ["far.toml: cannot read the file (File name too long): check its permissions"]


@pytest.mark.parametrize("name", ["acme", "_defaults"])
def test_a_pipe_in_the_place_of_a_file_blocks_nothing(tmp_path: pathlib.Path, name: str) -> None:
    os.mkfifo(tmp_path / f"{name}.toml")
    assert problems(tmp_path) == [f"{name}.toml: not a regular file: write the settings to a file"]


def test_the_name_of_every_account_is_text(tmp_path: pathlib.Path) -> None:
    """One that is not would make metrics and page of all accounts fail."""
    pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xffd.toml")).write_text(SOURCE)
    assert account_folder.names(tmp_path) == ["b?d"]
    assert problems(tmp_path, "b?d")[0].startswith("b?d.toml: not the name of an account")


@pytest.mark.parametrize("target", ["nowhere", "_defaults.toml", "x" * 300], ids=["nowhere", "itself", "too-far"])
def test_defaults_that_are_a_broken_link_are_not_taken_for_missing(tmp_path: pathlib.Path, target: str) -> None:
    """Without them, every account would have other limits."""
    (tmp_path / "_defaults.toml").symlink_to(target)
    with pytest.raises(SettingsError, match=r"_defaults\.toml: (cannot read the file|this is a link to a file)"):
        account_folder.read_defaults(tmp_path)


def test_a_look_differs_after_a_file_was_replaced(tmp_path: pathlib.Path) -> None:
    write(tmp_path, acme=SOURCE)
    before = account_folder.scan(tmp_path)
    assert account_folder.scan(tmp_path) == before
    (tmp_path / "next").write_text(SOURCE)
    (tmp_path / "next").replace(tmp_path / "acme.toml")
    assert account_folder.scan(tmp_path) != before


@pytest.mark.parametrize("folder", ["nowhere", "file"])
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: pathlib.Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot read the folder of accounts"):
        account_folder.scan(tmp_path / folder)


class TestKeys:
    def test_they_are_in_files_named_after_the_account(self, tmp_path: pathlib.Path) -> None:
        write(tmp_path, _defaults='[secrets]\npath = "keys/{account}"\n', acme=SOURCE)
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys" / "acme").write_text("ch_sk_test_acme\n")
        assert secrets.api_key(load(tmp_path), {}).reveal() == "ch_sk_test_acme"

    def test_the_variable_of_a_single_account_is_no_key_here(self, tmp_path: pathlib.Path) -> None:
        write(tmp_path, acme=SOURCE)
        with pytest.raises(SettingsError, match=r"secrets\.path: cannot read the file /run/secrets/fleet-sync/acme/"):
            secrets.api_key(load(tmp_path), {"CHARGE_API_KEY": "ch_sk_test_other"})

    def test_they_are_in_variables_of_their_own(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "acme-north.eu.toml").write_text(SOURCE)
        write(tmp_path, _defaults='[secrets]\nkind = "env"\n')
        settings = load(tmp_path, "acme-north.eu")
        key = secrets.api_key(settings, {"CHARGE_API_KEY__ACME_NORTH_EU": "ch_sk_test_n"})
        assert key.reveal() == "ch_sk_test_n"
        with pytest.raises(SettingsError, match="CHARGE_API_KEY__ACME_NORTH_EU: no secret key"):
            secrets.api_key(settings, {"CHARGE_API_KEY": "ch_sk_test_other"})

    def test_a_command_prints_them(self, tmp_path: pathlib.Path) -> None:
        write(
            tmp_path,
            _defaults='[secrets]\nkind = "command"\ncommand = ["printf", "ch_%s", "sk_test_{account}"]\n',
            acme=SOURCE,
        )
        assert secrets.api_key(load(tmp_path), {}).reveal() == "ch_sk_test_acme"

    def test_the_file_of_an_account_goes_before_the_common_place(self, tmp_path: pathlib.Path) -> None:
        write(tmp_path, _defaults='[secrets]\nkind = "env"\n', acme=f'[charge]\napi_key_file = "own"\n{SOURCE}')
        (tmp_path / "own").write_text("ch_sk_test_own")
        key = secrets.api_key(load(tmp_path), {"CHARGE_API_KEY__ACME": "ch_sk_test_other"})
        assert key.reveal() == "ch_sk_test_own"


def test_a_worker_may_be_taken_for_gone_as_soon_as_its_permit_ends(tmp_path: pathlib.Path) -> None:
    (tmp_path / "_defaults.toml").write_text('[cluster]\nurl_file = "b"\npermit_seconds = 4\nstall_seconds = 4')
    found = account_folder.read_defaults(tmp_path).cluster
    assert found is not None and (found.permit_seconds, found.stall_seconds) == (4, 4)
