"""What connections are made with: one SSL context for the whole process."""

import os
import pathlib

import pytest

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
    """Who opens a pipe waits for the other end, perhaps forever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=rf"charge\.ca_file: .*{name} is not a regular file"):
        network.ssl_context_with(tmp_path / name, "charge.ca_file")


def test_a_plain_webhook_loads_no_certificates() -> None:
    assert network.webhook_context(Secret("http://127.0.0.1:9/Sesame")).cert_store_stats()["x509_ca"] == 0
