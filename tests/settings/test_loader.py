"""Settings: everything at once, with its place, in words that say what to write."""

import os
import pathlib
import tomllib

import pytest

from tests.settings import conftest
from worker.core.model.desired import Mode
from worker.core.model.errors import SettingsError
from worker.settings import loader, model, source_kinds

CONFIG = pathlib.Path(__file__).parents[2] / "config" / "fleet-sync.toml"
MEMBERSHIP = "drv_jFme4vQtEAyhWAWt18YgmYvHSUL4AXx5/flt_HpGdGBwWHWAAZnAxuxiPdUiO8uLj8Kk8"


def test_every_key_except_sources_has_a_default(load: conftest.Load) -> None:
    settings = load()
    assert settings.charge.base_url == "https://api.chargeapi.co/v1"
    assert settings.sync.mode is Mode.EXACT
    assert settings.sources == (source_kinds.FileSource(path="membership.yaml"),)


def test_the_annotated_file_shows_every_key_with_its_default(load: conftest.Load) -> None:
    shown = tomllib.loads(CONFIG.read_text())
    assert shown == load().model_dump(mode="json", exclude_none=True)
    assert loader.load(CONFIG, {}).model_dump() == load().model_dump()


def test_the_annotated_file_keeps_the_order_of_the_code() -> None:
    shown = tomllib.loads(CONFIG.read_text())
    assert list(shown) == list(model.Settings.model_fields)
    for name, section in shown.items():
        if name == "plugins":
            continue
        described = source_kinds.FileSource if name == "sources" else model.SECTIONS[name]
        keys = [
            key for key, field in described.model_fields.items() if field.is_required() or field.default is not None
        ]
        if name == "sources":
            assert sorted(section[0]) == sorted(keys)
        else:
            assert list(section[0] if isinstance(section, list) else section) == keys


def test_settings_never_change(load: conftest.Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().rate_limit.burst = 5


def test_every_problem_is_reported_at_once_with_its_place(refused: conftest.Refused) -> None:
    found = refused(
        '[charge]\npage_size = 101\ntimeout_seconds = "30"\n[sync]\nmode = "exat"\n[rate_limits]\nburst = 1\n'
        "[rate_limit]\nbrust = 5\nadaptive = 1\n[guard]\nmust_see = ['"
        + MEMBERSHIP
        + "', 'drv_a/flt_b']\n[retry]\nbase_seconds = 5\nmax_seconds = 1\n",
        sources="",
        FLEET_SYNC_RATE_LIMIT__BURST="many",
        FLEET_SYNC_RATE_LIMIT__SPEED="3",
    )
    assert found == [
        'fleet-sync.toml:1:1: at least one source is required: add a section [[sources]] with path = "membership.yaml"',
        "fleet-sync.toml:2:13: charge.page_size: write a number of at most 100",
        "fleet-sync.toml:3:19: charge.timeout_seconds: write a number, without quotation marks",
        'fleet-sync.toml:5:8: sync.mode: write "exact", or "additive" to never detach',
        'fleet-sync.toml:6:2: unknown section "rate_limits": the sections are charge, sources, sync, rate_limit, '
        'retry, guard, journal, status, notify; did you mean "rate_limit"?',
        'fleet-sync.toml:9:1: unknown key "brust" in rate_limit: its keys are requests_per_second, burst, concurrency, '
        'adaptive; did you mean "burst"?',
        "fleet-sync.toml:10:12: rate_limit.adaptive: write true or false, without quotation marks",
        f"fleet-sync.toml:12:{len(MEMBERSHIP) + 17}: guard.must_see: 'drv_a' is not a valid drv_ id: an id is drv_ and "
        "exactly 32 letters or digits",
        "fleet-sync.toml:15:15: retry.max_seconds: must not be less than base_seconds",
        "FLEET_SYNC_RATE_LIMIT__BURST: rate_limit.burst: write a whole number, without quotation marks",
        'FLEET_SYNC_RATE_LIMIT__SPEED: unknown key "speed" in rate_limit: its keys are requests_per_second, burst, '
        "concurrency, adaptive",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("charge.page_size = 0", "1:20: charge.page_size: write a number of at least 1"),
        ("charge.page_size = 10.0", "1:20: charge.page_size: write a whole number"),
        ("charge.page_size = true", "1:20: charge.page_size: write a whole number"),
        ("charge.timeout_seconds = 0", "1:26: charge.timeout_seconds: write a number greater than 0"),
        ("charge.timeout_seconds = inf", "1:26: charge.timeout_seconds: write a"),
        ("charge.timeout_seconds = nan", "1:26: charge.timeout_seconds: write a"),
        ("charge.api_version = 'v 1'", '1:22: charge.api_version: write a version like "2026-03-01"'),
        ("charge.api_version = 2026-03-01", '1:22: charge.api_version: write text in "quotation marks"'),
        ("charge.api_key_file = 1", '1:23: charge.api_key_file: write text in "quotation marks"'),
        ("sync.interval_seconds = -1", "1:25: sync.interval_seconds: write a number of at least 0.01"),
        ("guard.window_hours = 1e-300", "1:22: guard.window_hours: write a number of at least 0.01"),
        ("sync.interval_jitter = 1.1", "1:24: sync.interval_jitter: write a number of at most 1"),
        (
            "rate_limit.requests_per_second = 1e-300",
            "1:34: rate_limit.requests_per_second: write a number of at least 0.01",
        ),
        ("rate_limit.burst = 0", "1:20: rate_limit.burst: write a number of at least 1"),
        ("rate_limit.concurrency = 257", "1:26: rate_limit.concurrency: write a number of at most 256"),
        ("retry.max_attempts = 0", "1:22: retry.max_attempts: write a number of at least 1"),
        ("retry.base_seconds = 0", "1:22: retry.base_seconds: write a number greater than 0"),
        ("guard.max_detach_fraction = 25", "1:29: guard.max_detach_fraction: write a number of at most 1"),
        (
            "guard.max_detach_fraction_per_fleet = -0.1",
            "1:39: guard.max_detach_fraction_per_fleet: write a number of at least 0",
        ),
        ("guard.max_unresolved_fraction = 2", "1:33: guard.max_unresolved_fraction: write a number of at most 1"),
        ("guard.always_allow = -1", "1:22: guard.always_allow: write a number of at least 0"),
        ("guard.must_see = 'x'", '1:18: guard.must_see: write a list, like ["…", "…"]'),
        ("guard.must_see = [1]", '1:19: guard.must_see: write text in "quotation marks"'),
        ("guard.must_see = ['a']", "1:19: guard.must_see: 'a' is not a membership: write drv_…/flt_…"),
        ("guard.allow_emptying_fleets = 'no'", "1:31: guard.allow_emptying_fleets: write true or false"),
        ("status.listen = ':8080'", '1:17: status.listen: the host is missing: write it like "127.0.0.1:8080"'),
        ("notify.url = 'http://sesame.example'", "1:14: notify.url: plain http would expose the notifications"),
        ("notify = {url = 'https://h/sesame', url_file = 'x'}", "1:48: notify.url_file: notify.url is set too"),
        (
            "journal.url = 'mysql://u:sesame@h/d'",
            "1:15: journal.url: not a journal: write sqlite:///",
        ),
        ("journal.keep = 1", '1:9: unknown key "keep" in journal'),
        ("charge = 1", "1:10: charge must be a section: write [charge], and its keys below it"),
        ("notices.url = 'x'", '1:1: unknown section "notices"'),
    ],
)
def test_an_invalid_value_is_refused_with_what_to_write(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text + "\n")
    assert f"fleet-sync.toml:{problem}" in found
    assert "sesame" not in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1: at least one source is required"),
        ("sources = []", "1:11: at least one source is required"),
        ("sources = 'membership.yaml'", "1:11: at least one source is required: add a section [[sources]]"),
        ("[sources]\npath = 'a.yaml'", "1:1: at least one source is required: add a section [[sources]]"),
        ("[[sources]]\nkind = 'file'", '1:1: sources.path is missing: write path = "membership.yaml"'),
        ("[[sources]]\npath = ''", "2:8: sources.path: write a path"),
        (
            "[[sources]]\npath = 'a'\nkind = 'ldap'",
            '3:8: sources.kind: write "file", "http", "sftp", "object", "command"',
        ),
        ("[[sources]]\npath = 'a'\n[[sources]]\npaht = 'b'\npath = 'b'", '4:1: unknown key "paht" in sources'),
        ("sources = ['a']", "1:12: sources must be a section: write [[sources]]"),
    ],
)
def test_at_least_one_source_is_required(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(sources=text)
    assert f"fleet-sync.toml:{problem}" in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[rate_limit\n", "1:12: "),
        ("[rate_limit]\nburst = \n", "2:9: expected a value"),
        ("[rate_limit]\nburst = 1\nburst = 2\n", "3:10: this key already has a value: keep one of them"),
        ("[rate_limit]\n[rate_limit]\n", "2:12: this table is already declared"),
        (
            "a = " + "[" * 5000,
            "1:25: nested deeper than 20 levels (five are enough): check that every bracket is closed",
        ),
        ("a = '\0'", "1:6: a NUL character"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_with_its_place(text: str, problem: str, refused: conftest.Refused) -> None:
    (found,) = refused(text, sources="")
    assert f"fleet-sync.toml:{problem}" in found


def test_a_missing_file_is_an_error_that_says_how_to_create_it(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SettingsError) as caught:
        loader.load(tmp_path / "none.toml", {})
    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path / "none.toml")
    assert "create one with `fleet-sync init`, or pass --config FILE" in problem.message
    assert "--config" in problem.message


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SettingsError, match="this is a folder: name the settings file in it"):
        loader.load(tmp_path, {})


@pytest.mark.integration
def test_a_file_larger_than_64_mib_is_refused(tmp_path: pathlib.Path) -> None:
    """It cannot be split, as a document can."""
    path = tmp_path / "a.toml"
    path.touch()
    os.truncate(path, 64 * 1024 * 1024 + 1)
    with pytest.raises(SettingsError) as caught:
        loader.load(path, {})
    (problem,) = caught.value.problems
    assert (
        str(problem)
        == f"{path}:1:1: larger than 64 MiB: this is not a settings file; pass another one with --config FILE"
    )


def test_a_file_that_is_not_utf_8_is_refused_with_its_place(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\n# \xe9")
    with pytest.raises(SettingsError, match=r"a\.toml:2:3: byte 0xe9 is not UTF-8"):
        loader.load(tmp_path / "a.toml", {})


def test_paths_are_relative_to_the_settings_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.toml").write_text('[[sources]]\npath = "teams"\n[journal]\nurl = "sqlite:///state/j.db"\n')
    monkeypatch.chdir(tmp_path)
    settings = loader.load("etc/a.toml", {})
    monkeypatch.undo()
    assert settings.resolve_path(settings.sources[0].address) == pathlib.Path("etc/teams")
    assert settings.sources[0].address == "teams"


def test_the_journal_path_does_not_depend_on_the_working_directory(
    tmp_path: pathlib.Path, load: conftest.Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().journal_url == f"sqlite:///{tmp_path}/fleet-sync.db"
    assert load("journal.url = 'sqlite:////var/lib/j.db'\n").journal_url == "sqlite:////var/lib/j.db"
    monkeypatch.chdir(tmp_path)
    assert loader.load("fleet-sync.toml", {}).journal_url == "sqlite:////var/lib/j.db"
    assert load("journal.url = 'postgresql://h/d'\n").journal_url == "postgresql://h/d"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("[charge]\napi_key = 'ch_sk_live_Sesame'\n", {}),
        ("[charge]\nbase_url = 'ch_sk_live_Sesame'\n", {}),
        ("[charge]\nbase_url = 'https://ch_sk_live_Sesame@h'\n", {}),
        ("[charge]\napi_version = 'ch_sk_live_Sesame'\n", {}),
        ("[charge]\nch_sk_live_Sesame = 1\n", {}),
        ("[ch_sk_live_Sesame]\n", {}),
        ("ch_sk_live_Sesame\n", {}),
        ("[charge]\na = ch_sk_live_Sesame\n", {}),
        ("[charge]\na = {ch_sk_live_Sesame = 1, ch_sk_live_Sesame = 1}\n", {}),
        ("[charge]\napi_key_file = 'ch_sk_live_Sesame'\n", {}),
        ("[charge]\nbase_url = 'https://h/ch_sk_live_Sesame'\n", {}),
        ("[journal]\nurl = 'postgresql://u:ch_sk_live_Sesame@h/d'\n", {}),
        ("[notify]\nurl_file = 'ch_sk_live_Sesame'\n", {}),
        ("[guard]\nmust_see = ['ch_sk_live_Sesame']\n", {}),
        ("[guard]\nmust_see = ['drv_ch_sk_live_Sesame/x']\n", {}),
        ("[rate_limit]\nburst = 'ch_sk_live_Sesame'\n", {}),
        ("[sync]\nmode = 'ch_sk_live_Sesame'\n", {}),
        ("", {"FLEET_SYNC_CHARGE__API_KEY": "ch_sk_live_Sesame"}),
        ("", {"FLEET_SYNC_RATE_LIMIT__BURST": "ch_sk_live_Sesame"}),
        ("", {"FLEET_SYNC_CHARGE__API_KEY_FILE": "ch_sk_live_Sesame"}),
    ],
)
def test_a_secret_key_in_the_settings_is_never_shown(text: str, environ: dict[str, str], load: conftest.Load) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text, **environ)
    assert "Sesame" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "Sesame" not in str(caught.value.__context__ or "")


def test_a_key_in_the_settings_is_an_error_that_says_where_to_set_it(refused: conftest.Refused) -> None:
    (found,) = refused("[charge]\napi_key = 'ch_sk_live_Sesame'\n")
    assert found == (
        'fleet-sync.toml:2:1: unknown key "api_key" in charge: the settings never contain a secret key; '
        "set CHARGE_API_KEY, or charge.api_key_file"
    )


@pytest.mark.parametrize(
    ("text", "sources", "place"),
    [
        ("[charge]\napi_key_file = 'ch_sk_live_Sesame'\n", conftest.SOURCES, "2:16: charge.api_key_file"),
        ("charge.api_key_file = '/run/ch_sk_live_Sesame'\n", conftest.SOURCES, "1:23: charge.api_key_file"),
        ("journal.url = 'sqlite:///ch_sk_live_Sesame'\n", conftest.SOURCES, "1:15: journal.url"),
        ("", "[[sources]]\npath = 'ch_sk_live_Sesame'\n", "2:8: sources.path"),
    ],
)
def test_a_key_in_another_setting_is_refused_with_its_place(
    text: str, sources: str, place: str, refused: conftest.Refused
) -> None:
    """`check` would call it fine else, and the file with the key in it would be committed."""
    (found,) = refused(text, sources=sources)
    assert found == (
        f"fleet-sync.toml:{place}: the settings never contain a secret key: set CHARGE_API_KEY, or write the key "
        "to a file and its path in charge.api_key_file"
    )


def test_what_cannot_be_looked_at_is_neither_missing_nor_a_folder(tmp_path: pathlib.Path) -> None:
    """Reading it says what is wrong. Taken for missing, settings in the folder would be silently ignored."""
    for path, folder, missing in (
        (tmp_path, True, False),
        (tmp_path / "nothing", False, True),
        (CONFIG / "below a file", False, True),
        (tmp_path / ("n" * 300), False, False),
    ):
        assert (loader.is_folder(path), loader.is_missing(path)) == (folder, missing), path


def test_the_longest_pause_may_be_as_long_as_the_first(load: conftest.Load) -> None:
    assert load("[retry]\nbase_seconds = 30\nmax_seconds = 30\n").retry.max_seconds == 30
