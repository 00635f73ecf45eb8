"""No test, and no command that a test starts, leaves loopback."""

import pathlib
import socket

import anyio
import httpx
import pytest

from tests.support import command, loopback
from worker.sandbox import app


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_no_connection_leaves_the_machine(address: str) -> None:
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(kind) as connection, pytest.raises(loopback.LeftLoopback, match="may reach loopback only"):
        connection.connect((address, 443))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_request_asks_for_the_address_of_charge(backend: str) -> None:
    async def ask() -> None:
        async with httpx.AsyncClient() as client:
            await client.get("https://api.chargeapi.co")

    with pytest.raises(loopback.LeftLoopback, match=r"would reach api\.chargeapi\.co"):
        anyio.run(ask, backend=backend)


@pytest.mark.integration
def test_a_command_does_not_reach_the_real_charge(tmp_path: pathlib.Path) -> None:
    (tmp_path / "fleet-sync.toml").write_text("[[sources]]\npath = 'none.yaml'\n")
    ended = command.run("--config", "fleet-sync.toml", "export", environ={"CHARGE_API_KEY": app.KEY}, cwd=tmp_path)
    assert "would reach api.chargeapi.co" in ended.stderr
    assert ended.code != 0
