"""The API key, the status token and the webhook's address: where they come from, and that no message shows them."""

import copy
import os
import pathlib
import pickle

import pytest

from tests.settings import conftest
from worker.core.model.errors import SettingsError
from worker.core.model.secret import Secret, redact
from worker.settings import secrets

KEY = "ch_sk_test_Sesame"
TOKEN = "Sesame-0123456789abcdef"
URL = "https://hooks.example/services/Sesame"


# --- The API key


def key_problem(load: conftest.Load, text: str = "", **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        secrets.api_key(load(text), environ)
    assert "Set CHARGE_API_KEY" in caught.value.remedy
    assert "Sesame" not in str(caught.value)
    return str(caught.value)


def test_the_key_comes_from_the_environment_first(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "one").write_text("ch_sk_live_one")
    (tmp_path / "two").write_text("two")
    text = "charge.api_key_file = 'two'\n"
    one = str(tmp_path / "one")
    assert secrets.api_key(load(text), {"CHARGE_API_KEY": KEY, "CHARGE_API_KEY_FILE": one}).reveal() == KEY
    assert secrets.api_key(load(text), {"CHARGE_API_KEY_FILE": one}).reveal() == "ch_sk_live_one"
    assert secrets.api_key(load(text), {}).reveal() == "two"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_a_line_ending_is_not_part_of_the_key(end: str, load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes((KEY + end).encode())
    assert secrets.api_key(load(), {"CHARGE_API_KEY_FILE": str(tmp_path / "key")}).reveal() == KEY
    assert secrets.api_key(load(), {"CHARGE_API_KEY": KEY + end}).reveal() == KEY


def test_a_missing_key_is_an_error_that_says_where_to_set_it(load: conftest.Load) -> None:
    assert key_problem(load).startswith("CHARGE_API_KEY: no secret key")


@pytest.mark.parametrize("text", ["", " ", "\n", "ch_sk_ Sesame", "Ses\name", "Sesamé", "Sesame\0", "\ufeffSesame"])
def test_an_invalid_key_is_refused_and_not_shown(text: str, load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes(text.encode())
    assert key_problem(load, CHARGE_API_KEY=text).startswith("CHARGE_API_KEY: the key ")
    assert key_problem(load, "charge.api_key_file = 'key'\n").startswith("charge.api_key_file (")


def test_a_place_that_is_set_but_unusable_is_an_error(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    """Another key than the one that was meant could be that of another account."""
    (tmp_path / "key").write_text(KEY)
    text = "charge.api_key_file = 'key'\n"
    assert "the key is empty" in key_problem(load, text, CHARGE_API_KEY="")
    assert "it is empty" in key_problem(load, text, CHARGE_API_KEY_FILE="")
    assert "cannot read the file" in key_problem(load, text, CHARGE_API_KEY_FILE=str(tmp_path / "none"))


def test_a_key_in_place_of_the_path_of_its_file_is_not_shown(load: conftest.Load) -> None:
    assert "this is a key, not a path" in key_problem(load, CHARGE_API_KEY_FILE=KEY)


def test_a_file_that_holds_more_than_a_key_is_refused(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_text("Sesame" * 1000)
    assert "more than a key" in key_problem(load, "charge.api_key_file = 'key'\n")
    assert "cannot read the file" in key_problem(load, "charge.api_key_file = '.'\n")


def test_only_reveal_returns_a_secret() -> None:
    held = Secret(KEY)
    assert "Sesame" not in f"{held} {held!r} {held!s} {[held]} %s" % held
    assert not hasattr(held, "__dict__")
    for write in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled"):
            write(held)
    assert held.reveal() == KEY


@pytest.mark.parametrize(
    ("text", "mode"),
    [("ch_sk_test_a", "test"), ("ch_sk_live_a", "live"), ("ch_rk_live_a", "unknown"), ("ch_sk_", "unknown")],
)
def test_the_mode_of_a_key_is_its_prefix(text: str, mode: str) -> None:
    assert Secret(text).mode == mode


def test_redact_changes_nothing_but_keys() -> None:
    assert redact("a 'ch_sk_live_Ses.ame+' b, ch_sk_x") == "a 'ch_sk_…' b, ch_sk_…"


def test_the_credentials_of_an_account_are_all_that_it_needs_to_connect(
    load: conftest.Load, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "key").write_text(KEY)
    settings = load("charge = {api_key_file = 'key', proxy_url = 'http://proxy.example:3128'}\n")
    found = secrets.credentials(settings, {secrets.PLAN_KEY_VARIABLE: TOKEN})
    assert [each.reveal() for each in found.secrets()] == [KEY, "http://proxy.example:3128", TOKEN]
    (tmp_path / "key").write_text("ch_sk_test_next")
    assert (found.key.reveal(), found.read_key().reveal()) == (KEY, "ch_sk_test_next")
    alone = secrets.credentials(load(), {"CHARGE_API_KEY": KEY})
    assert [each.reveal() for each in alone.secrets()] == [KEY]


# --- The status token


def token_problem(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        secrets.status_token(environ)
    assert "FLEET_SYNC_STATUS_TOKEN" in caught.value.remedy
    assert "Sesame" not in str(caught.value)
    return str(caught.value)


def test_without_a_token_there_is_none() -> None:
    assert secrets.status_token({}) is None


def test_the_token_comes_from_the_environment_first(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}-of-the-file\n")
    of_file = {secrets.TOKEN_FILE_VARIABLE: str(path)}
    first, second = secrets.status_token({secrets.TOKEN_VARIABLE: TOKEN, **of_file}), secrets.status_token(of_file)
    assert first is not None and first.reveal() == TOKEN
    assert second is not None and second.reveal() == f"{TOKEN}-of-the-file"


def test_an_empty_variable_counts_as_unset() -> None:
    """A compose file or a manifest may pass on a variable that is not set."""
    assert secrets.status_token({secrets.TOKEN_VARIABLE: "", secrets.TOKEN_FILE_VARIABLE: ""}) is None


def test_a_blank_token_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text(" \n")
    assert "the token is empty" in token_problem({secrets.TOKEN_VARIABLE: " "})
    assert "the token is empty" in token_problem({secrets.TOKEN_FILE_VARIABLE: str(tmp_path / "token")})


@pytest.mark.parametrize(
    "text", ["Sesame 0123456789", "Sesam\u00e9-0123456789", "Sesame-0123\n456789", "Sesame-012345\0789"]
)
def test_a_token_that_no_header_can_carry_is_refused(text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text(text)
    assert "create another" in token_problem({secrets.TOKEN_VARIABLE: text})
    assert "create another" in token_problem({secrets.TOKEN_FILE_VARIABLE: str(tmp_path / "token")})


@pytest.mark.parametrize("text", ["x", "hunter2", "fifteen-letters"])
def test_a_token_that_can_be_guessed_is_refused(text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text(text)
    for environ in ({secrets.TOKEN_VARIABLE: text}, {secrets.TOKEN_FILE_VARIABLE: str(tmp_path / "token")}):
        assert "fewer than 16 characters" in token_problem(environ)


def test_a_token_of_16_characters_is_accepted() -> None:
    token = secrets.status_token({secrets.TOKEN_VARIABLE: "sixteen-letters-"})
    assert token is not None
    assert token.reveal() == "sixteen-letters-"


def test_an_api_key_is_not_accepted_as_token() -> None:
    assert "a Charge key" in token_problem({secrets.TOKEN_VARIABLE: "ch_sk_live_Sesame0123456789"})


def test_a_token_in_place_of_the_path_of_its_file_is_not_shown(tmp_path: pathlib.Path) -> None:
    assert "cannot read the file" in token_problem({secrets.TOKEN_FILE_VARIABLE: TOKEN})
    assert "not a valid path" in token_problem({secrets.TOKEN_FILE_VARIABLE: "Sesame\0"})
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in token_problem({secrets.TOKEN_FILE_VARIABLE: str(tmp_path / "pipe")})
    (tmp_path / "token").write_text("Sesame" * 1000)
    assert "more than a token" in token_problem({secrets.TOKEN_FILE_VARIABLE: str(tmp_path / "token")})


# --- The key of saved plans


def test_a_plan_key_is_read_like_a_token(tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_text(f"{TOKEN}\n")
    assert secrets.plan_key({}) is None
    for environ in ({secrets.PLAN_KEY_VARIABLE: TOKEN}, {secrets.PLAN_KEY_FILE_VARIABLE: str(tmp_path / "key")}):
        key = secrets.plan_key(environ)
        assert key is not None and key.reveal() == TOKEN


@pytest.mark.parametrize("text", ["fifteen-letters", "ch_sk_live_Sesame0123456789", " "])
def test_a_plan_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        secrets.plan_key({secrets.PLAN_KEY_VARIABLE: text})
    assert "plan key" in str(caught.value) and "FLEET_SYNC_PLAN_KEY_FILE" in caught.value.remedy


# --- The webhook's address


def webhook_problem(load: conftest.Load, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        secrets.notification_targets(load(text))
    assert "Sesame" not in str(caught.value)
    return str(caught.value)


def test_there_is_no_webhook_by_default(load: conftest.Load) -> None:
    assert secrets.notification_targets(load()) == ()


def test_the_address_comes_from_the_settings_or_the_environment(load: conftest.Load) -> None:
    for settings in (load(f"notify.url = '{URL}'\n"), load(FLEET_SYNC_NOTIFY__URL=URL)):
        (found,) = secrets.notification_targets(settings)
        assert (found.kind, found.url.reveal()) == ("webhook", URL)
        assert found.events == ("held", "refused", "broken", "recovered")
        assert "Sesame" not in f"{found} {found!r}"


def test_the_address_may_be_in_a_file_beside_the_settings(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "hook").write_text(f"{URL}\n")
    (found,) = secrets.notification_targets(load("notify.url_file = 'hook'\n"))
    assert found.url.reveal() == URL


def test_there_may_be_several_receivers(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_text("R" * 32 + "\n")
    slack, pager, other = secrets.notification_targets(
        load(
            f"[[notify]]\nkind = 'slack'\nurl = '{URL}'\nevents = ['held']\n"
            "[[notify]]\nkind = 'pagerduty'\nurl_file = 'key'\n"
            "[[notify]]\nkind = 'pagerduty'\nurl = 'http://127.0.0.1:9/v2/enqueue?routing_key=abc'\n"
        )
    )
    assert (slack.kind, slack.events, slack.routing_key) == ("slack", ("held",), None)
    assert pager.url.reveal() == "https://events.pagerduty.com/v2/enqueue"
    assert pager.routing_key is not None
    assert pager.routing_key.reveal() == "R" * 32
    assert other.url.reveal() == "http://127.0.0.1:9/v2/enqueue"
    assert other.routing_key is not None
    assert other.routing_key.reveal() == "abc"


def test_what_must_be_kept_secret_of_a_receiver_is_its_address_and_its_routing_key(
    load: conftest.Load, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "key").write_text("R" * 32)
    text = f"[[notify]]\nurl = '{URL}'\n[[notify]]\nkind = 'pagerduty'\nurl_file = 'key'\n"
    webhook, pager = secrets.notification_targets(load(text))
    assert [each.reveal() for each in webhook.secrets()] == [URL]
    assert [each.reveal() for each in pager.secrets()] == ["https://events.pagerduty.com/v2/enqueue", "R" * 32]


def test_the_file_of_pagerduty_has_a_routing_key_or_an_address_with_one(
    load: conftest.Load, tmp_path: pathlib.Path
) -> None:
    settings = load("[[notify]]\nkind = 'pagerduty'\nurl_file = 'key'\n")
    for content, url, key in (
        ("R" * 16, "https://events.pagerduty.com/v2/enqueue", "R" * 16),
        (f"{URL}?routing_key=abc", URL, "abc"),
    ):
        (tmp_path / "key").write_text(content)
        (found,) = secrets.notification_targets(settings)
        assert found.routing_key is not None
        assert (found.url.reveal(), found.routing_key.reveal()) == (url, key)
    for content in (URL, f"{URL}?routing_key=a&routing_key=b"):
        (tmp_path / "key").write_text(content)
        with pytest.raises(SettingsError, match=r"notify\.url_file: PagerDuty needs a routing key"):
            secrets.notification_targets(settings)


def test_pagerduty_needs_a_routing_key(load: conftest.Load) -> None:
    assert "needs a routing key" in webhook_problem(load, f"[[notify]]\nkind = 'pagerduty'\nurl = '{URL}'\n")


def test_an_override_of_one_of_several_receivers_is_refused(load: conftest.Load) -> None:
    with pytest.raises(SettingsError, match="FLEET_SYNC_NOTIFY__URL: the settings file has several"):
        load(f"[[notify]]\nurl = '{URL}'\n", FLEET_SYNC_NOTIFY__URL=URL)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("http://h/Sesame", "plain http"),
        ("Sesame", "not an http or https address"),
        (f"{URL}\n{URL}", "a space"),
    ],
)
def test_a_file_without_a_valid_webhook_is_refused_and_not_repeated(
    content: str, words: str, load: conftest.Load, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "hook").write_text(content)
    found = webhook_problem(load, "notify.url_file = 'hook'\n")
    assert found.startswith("notify.url_file (")
    assert words in found


def test_an_address_in_place_of_the_path_of_its_file_is_not_shown(load: conftest.Load) -> None:
    assert "this is an address, not a path" in webhook_problem(load, f"notify.url_file = '{URL}'\n")
    assert "cannot read the file" in webhook_problem(load, "notify.url_file = 'nowhere'\n")


# --- The proxy's address


def proxy_problem(load: conftest.Load, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        secrets.proxy_address(load(text))
    assert "sesame" not in str(caught.value)
    return str(caught.value)


def test_without_a_proxy_there_is_none(load: conftest.Load) -> None:
    assert secrets.proxy_address(load()) is None


def test_the_proxy_is_in_the_settings_or_in_a_file_with_its_login(load: conftest.Load, tmp_path: pathlib.Path) -> None:
    (tmp_path / "proxy").write_text("http://user:sesame@Proxy.example:3128/\n")
    of_settings = secrets.proxy_address(load("charge.proxy_url = 'http://proxy.example:3128'\n"))
    of_file = secrets.proxy_address(load("charge.proxy_url_file = 'proxy'\n"))
    assert of_settings is not None and of_settings.reveal() == "http://proxy.example:3128"
    assert of_file is not None and of_file.reveal() == "http://user:sesame@proxy.example:3128"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("https://user:sesame@proxy.example", "plain http"),
        ("proxy.example:3128", "not an http or https address"),
        ("http://user:sesame@proxy.example/path", "a path"),
    ],
)
def test_a_file_without_a_valid_proxy_is_refused_and_not_repeated(
    content: str, words: str, load: conftest.Load, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "proxy").write_text(content)
    assert words in proxy_problem(load, "charge.proxy_url_file = 'proxy'\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("charge.proxy_url = 'http://user:sesame@proxy.example'", "proxy_url_file"),
        ("charge.proxy_url = 'socks5://proxy.example'", "not an http or https address"),
        ("charge = {proxy_url = 'http://p', proxy_url_file = 'x'}", "keep one of the two"),
        ("charge = {base_url = 'http://localhost', proxy_url = 'http://p'}", "plain http would expose the key"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_in_the_settings(
    text: str, words: str, refused: conftest.Refused
) -> None:
    (found,) = refused(text + "\n")
    assert words in found
    assert "sesame" not in found
