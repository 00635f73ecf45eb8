"""Environment variables that override settings: which win, and what is wrong with the others."""

import pytest

from tests.settings import conftest
from worker.core.model.desired import Mode
from worker.core.model.errors import SettingsError


def test_the_environment_wins_over_the_file(load: conftest.Load) -> None:
    membership = f"drv_{'A' * 32}/flt_{'B' * 32}"
    settings = load(
        "[rate_limit]\nburst = 5\nconcurrency = 7\n",
        FLEET_SYNC_RATE_LIMIT__BURST="6",
        FLEET_SYNC_RATE_LIMIT__ADAPTIVE="false",
        FLEET_SYNC_SYNC__MODE="additive",
        FLEET_SYNC_CHARGE__BASE_URL="http://127.0.0.1:8000/v1/",
        FLEET_SYNC_CHARGE__API_VERSION="2026-03-01",
        FLEET_SYNC_CHARGE__TIMEOUT_SECONDS="1.5",
        FLEET_SYNC_CHARGE__API_KEY_FILE='"keys/charge"',
        FLEET_SYNC_GUARD__MUST_SEE=f'["{membership}"]',
    )
    assert (settings.rate_limit.burst, settings.rate_limit.concurrency, settings.rate_limit.adaptive) == (6, 7, False)
    assert settings.sync.mode is Mode.ADDITIVE
    assert settings.charge.base_url == "http://127.0.0.1:8000/v1"
    assert settings.charge.api_version == "2026-03-01"
    assert settings.charge.timeout_seconds == 1.5
    assert settings.charge.api_key_file == "keys/charge"
    assert settings.guard.must_see == (membership,)


@pytest.mark.parametrize("text", ["20260301", "1.0", "true", "2026-03-01", "0x1F", "1e5"])
def test_an_override_of_a_text_setting_is_always_text(text: str, load: conftest.Load) -> None:
    settings = load(FLEET_SYNC_CHARGE__API_VERSION=text, FLEET_SYNC_CHARGE__API_KEY_FILE=text)
    assert (settings.charge.api_version, settings.charge.api_key_file) == (text, text)


def test_an_override_of_a_text_setting_may_be_quoted_and_a_list_stays_text(load: conftest.Load) -> None:
    settings = load(FLEET_SYNC_CHARGE__API_VERSION='"20260301"', FLEET_SYNC_NOTIFY__URL_FILE='["a"]')
    assert (settings.charge.api_version, settings.notify[0].url_file) == ("20260301", '["a"]')


def test_a_nul_character_is_refused_wherever_it_is(load: conftest.Load) -> None:
    """A path, a command or a query with one would fail later, each in its own way."""
    text = """[[sources]]
kind = "git"
url = "https://git.example.com/hr.git"
path = "a\\u0000b"
[[sources]]
kind = "command"
run = ["a", "\\u0000"]
env = {"A\\U00000000" = "b"}
"""
    with pytest.raises(SettingsError) as caught:
        load(text, sources="")
    places = ["4:1", "7:13", "8:8"]
    assert [problem.where.partition(":")[2] for problem in caught.value.problems] == places
    with pytest.raises(SettingsError, match="FLEET_SYNC_CHARGE__CA_FILE: a NUL character"):
        load(FLEET_SYNC_CHARGE__CA_FILE='"a\\u0000b"')


def test_an_override_replaces_an_invalid_value_in_the_file(load: conftest.Load) -> None:
    assert load("[rate_limit]\nburst = 0\n", FLEET_SYNC_RATE_LIMIT__BURST="6").rate_limit.burst == 6


def test_variables_without_section_and_key_are_ignored(load: conftest.Load) -> None:
    """Some mean something of their own, and an orchestrator sets others for a service that is named fleet-sync."""
    others = (
        "FLEET_SYNC",
        "FLEET_SYNC_CONFIG",
        "FLEET_SYNC_LOG_FORMAT",
        "FLEET_SYNC_LOG_LEVEL",
        "FLEET_SYNC_PLAN_KEY",
        "FLEET_SYNC_PLAN_KEY_FILE",
        "FLEET_SYNC_PORT",
        "FLEET_SYNC_SERVICE_HOST",
        "FLEET_SYNC_STATUS_PORT",
        "FLEET_SYNC_STATUS_TOKEN",
        "FLEET_SYNC_STATUS_TOKEN_FILE",
        "FLEET_SYNC_TEST_TOOLS",
        "OTHER_PACE_BURST",
        "OTHER__KEY",
    )
    assert load(**dict.fromkeys(others, "x")) == load()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("FLEET_SYNC_PASE__BURST", "1", 'unknown section "pase"'),
        ("FLEET_SYNC_RATE_LIMIT__BRUST", "1", 'did you mean "burst"?'),
        ("FLEET_SYNC_RATE_LIMIT__BURST__MAX", "1", 'unknown key "burst__max" in rate_limit'),
        ("FLEET_SYNC_RATE_LIMIT__", "1", 'unknown key "" in rate_limit'),
        ("FLEET_SYNC___BURST", "1", 'unknown section ""'),
        ("FLEET_SYNC_RATE_LIMIT__BURST", "", "write a whole number"),
        ("FLEET_SYNC_RATE_LIMIT__BURST", "1\nb = 2", "write a whole number"),
        ("FLEET_SYNC_RATE_LIMIT__BURST", "[" * 5000, "write a whole number"),
        ("FLEET_SYNC_RATE_LIMIT__BURST", "{a = 1}", "write a whole number"),
        ("FLEET_SYNC_SOURCES__PATH", "a.yaml", "sources can only be written in the settings file"),
        ("FLEET_SYNC_RETRY__MAX_SECONDS", "0.1", "must not be less than base_seconds"),
        ("FLEET_SYNC_GUARD__MUST_SEE", '["a"]', "is not a membership"),
        ("FLEET_SYNC_JOURNAL__URL", "mysql://h/d", "not a journal"),
    ],
)
def test_an_invalid_override_is_reported_with_its_variable(
    name: str, value: str, problem: str, refused: conftest.Refused
) -> None:
    (found,) = refused(**{name: value})
    assert found.startswith(f"{name}: ")
    assert problem in found


@pytest.mark.parametrize(
    ("text", "environ", "problem"),
    [
        (
            "[pace]\nburst = 5\n",
            {},
            "fleet-sync.toml:1:2: [pace] is now [rate_limit]: rename the section, its keys are the same",
        ),
        (
            "",
            {"FLEET_SYNC_PACE__BURST": "5"},
            "FLEET_SYNC_PACE__BURST: [pace] is now [rate_limit]: set FLEET_SYNC_RATE_LIMIT__BURST instead",
        ),
        (
            "",
            {"FLEET_SYNC_PACE_BURST": "5"},
            "FLEET_SYNC_PACE_BURST: [pace] is now [rate_limit]: set FLEET_SYNC_RATE_LIMIT__BURST instead",
        ),
    ],
)
def test_the_former_name_of_a_section_is_refused_with_its_new_name(
    text: str, environ: dict[str, str], problem: str, refused: conftest.Refused
) -> None:
    assert refused(text, **environ) == [problem]


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("FLEET_SYNC_GUARD_MAX_DETACH_FRACTION", "0", "FLEET_SYNC_GUARD__MAX_DETACH_FRACTION"),
        ("FLEET_SYNC_RATE_LIMIT_BURST", "-3", "FLEET_SYNC_RATE_LIMIT__BURST"),
        ("FLEET_SYNC__RATE_LIMIT_BURST", "5", "FLEET_SYNC_RATE_LIMIT__BURST"),
        ("FLEET_SYNC_STATUS_LISTEN", "ch_sk_live_Sesame", "FLEET_SYNC_STATUS__LISTEN"),
    ],
)
def test_an_override_with_one_underscore_is_an_error(
    name: str, value: str, meant: str, refused: conftest.Refused
) -> None:
    """Somebody who sets a limit to nothing would believe that it holds."""
    (found,) = refused(**{name: value})
    assert found == (
        f"{name}: this has no effect: write {meant}, with two underscores between section and key, or unset it"
    )


def test_a_source_in_the_environment_is_refused_however_it_is_spelled(refused: conftest.Refused) -> None:
    (found,) = refused(FLEET_SYNC_SOURCES_PATH="a.yaml")
    assert found.startswith("FLEET_SYNC_SOURCES_PATH: sources can only be written in the settings file")


def test_an_override_of_an_invalid_section_reports_the_file(refused: conftest.Refused) -> None:
    (found,) = refused("rate_limit = 1\n", FLEET_SYNC_RATE_LIMIT__BURST="1")
    assert found.startswith("fleet-sync.toml:1:14: rate_limit must be a section")


def test_a_key_in_an_override_is_refused_by_the_name_of_its_variable(refused: conftest.Refused) -> None:
    (found,) = refused(FLEET_SYNC_CHARGE__API_KEY_FILE="ch_sk_live_Sesame")
    assert found.startswith(
        "FLEET_SYNC_CHARGE__API_KEY_FILE: charge.api_key_file: the settings never contain a secret key"
    )
