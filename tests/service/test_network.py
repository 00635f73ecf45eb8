"""What connections are made with: one SSL context for the whole process."""

import os
import pathlib

import pytest
import trustme

from worker.core.model.errors import SettingsError
from worker.core.model.secret import Secret
from worker.service import network
from worker.settings import model

WORKER = pathlib.Path(network.__file__).parents[1]


def test_charge_and_webhooks_share_one_ssl_context() -> None:
    """A context takes 1 MB and 80 ms."""
    settings = model.Settings.model_validate(
        {"charge": {"base_url": "https://charge.example/v1"}, "sources": [{"kind": "file", "path": "m.yaml"}]}
    )
    charge = network.network(settings, proxy=None, environ={})
    assert charge.ssl_context is not None
    assert network.webhook_context(Secret("https://hooks.example/Sesame")) is charge.ssl_context


def test_no_other_module_loads_certificates() -> None:
    loads = [path for path in WORKER.rglob("*.py") if "load_default_certs" in path.read_text(encoding="utf-8")]
    assert loads == [pathlib.Path(network.__file__)]


@pytest.mark.parametrize("name", ["pipe", "folder"])
def test_authorities_are_read_from_a_file_and_from_nothing_else(tmp_path: pathlib.Path, name: str) -> None:
    """Opening a pipe waits for the other end, perhaps forever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=rf"charge\.ca_file: .*{name} is not a regular file"):
        network.ssl_context_with(tmp_path / name, "charge.ca_file")


def test_a_plain_webhook_loads_no_certificates() -> None:
    assert network.webhook_context(Secret("http://127.0.0.1:9/Sesame")).cert_store_stats()["x509_ca"] == 0


def _settings(**charge: str) -> model.Settings:
    return model.Settings.model_validate({"charge": charge, "sources": [{"kind": "file", "path": "m.yaml"}]})


def test_charge_over_plain_http_needs_no_certificates() -> None:
    plain = network.network(_settings(base_url="http://127.0.0.1:9/v1"), proxy=None, environ={})
    assert (plain.ssl_context, plain.proxy, plain.ignored_proxies) == (None, None, ())


def test_the_environments_proxies_are_named_but_not_used() -> None:
    environ = {"HTTPS_PROXY": "http://proxy.example:3128", "all_proxy": "", "NO_PROXY": "*"}
    found = network.network(_settings(base_url="http://127.0.0.1:9/v1"), proxy=None, environ=environ)
    assert (found.proxy, found.ignored_proxies) == (None, ("HTTPS_PROXY",))


def test_a_proxy_of_the_settings_is_used() -> None:
    found = network.network(_settings(), proxy=Secret("http://proxy.example:3128"), environ={})
    assert str(found.proxy) == "proxy.example:3128"


def test_an_account_with_authorities_of_its_own_trusts_them_beside_all_others(tmp_path: pathlib.Path) -> None:
    own = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(own)
    found = network.network(_settings(base_url="https://c.test/v1", ca_file=str(own)), proxy=None, environ={})
    assert found.ssl_context is not None
    assert found.ssl_context is not network.ssl_context(), "no other account may trust them"
    assert len(found.ssl_context.get_ca_certs()) == len(network.ssl_context().get_ca_certs()) + 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("ca.pem", "nonsense", "contains no certificate"),
        ("gone.pem", None, "No such file"),
        ("a\0b", None, "not a valid"),
    ],
)
def test_a_file_without_authorities_is_said(tmp_path: pathlib.Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SettingsError, match=says) as caught:
        network.ssl_context_with(tmp_path / name, "charge.ca_file")
    assert caught.value.message.startswith("charge.ca_file: ")
