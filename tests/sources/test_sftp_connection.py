"""Talking to an SFTP server: logging in, and every way to be refused."""

import os
import pathlib

import anyio
import asyncssh
import pytest

from tests.sources import sftp_servers
from worker.core.model.errors import SourceError
from worker.sources import sftp_connection, sftp_source

SECRET = "s3cr3t-of-the-source"
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client(port: int, folder: pathlib.Path, known_hosts: str, secret: str = SECRET) -> sftp_source.Server:
    (folder / "known_hosts").write_text(known_hosts)
    (folder / "secret").write_text(secret)
    host, user = "127.0.0.1", sftp_servers.USER
    return sftp_source.Server(host, port, user, folder / "known_hosts", folder / "secret", "password_file")


async def refused(server: sftp_source.Server, code: str) -> str:
    with pytest.raises(SourceError) as caught:
        async with sftp_connection.connect(server, "hr"):
            pass
    assert caught.value.code == code
    assert SECRET not in f"{caught.value!r} {caught.value.__context__!r} {server!r}"
    return caught.value.message


async def test_files_are_listed_and_read(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "served"
    (folder / "out" / "old").mkdir(parents=True)
    (folder / "out" / "people.csv").write_bytes(b"x" * 300_000)
    async with sftp_servers.serving(folder, SECRET) as server:
        with anyio.fail_after(60):
            async with sftp_connection.connect(client(server.port, tmp_path, server.known_hosts), "hr") as session:
                entries = await session.entries("out")
                data, status = await session.content("out/people.csv", 300_001)
                assert data == b"x" * 300_000
                assert status == entries["people.csv"] == await session.status("out/people.csv")
                assert not entries["old"].is_file
                assert (await session.content("out/people.csv", 9))[0] == b"x" * 9
                assert await session.content("out/none.csv", 9) == (b"", None)
                assert await session.status("out/none.csv") is None
                with pytest.raises(SourceError, match="the server has no folder none"):
                    await session.entries("none")


async def test_a_name_that_is_not_utf_8_does_not_hide_the_others(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "people.csv").write_bytes(b"x")
    (folder / b"M\xfcller.csv".decode(errors="surrogateescape")).write_bytes(b"x")
    async with (
        sftp_servers.serving(folder, SECRET) as server,
        sftp_connection.connect(client(server.port, tmp_path, server.known_hosts), "hr") as session,
    ):
        assert sorted(await session.entries(".")) == [".", "..", "M\udcfcller.csv", "people.csv"]


async def test_an_error_of_the_server_is_not_taken_for_the_end_of_the_connection(tmp_path: pathlib.Path) -> None:
    async with sftp_servers.serving(tmp_path, SECRET) as server:
        with pytest.raises(SourceError, match="answered with SFTP error 4") as caught:
            async with sftp_connection.connect(client(server.port, tmp_path, server.known_hosts), "hr") as session:
                await session.status("x" * 300)
    assert caught.value.code == "source_incomplete"


async def test_a_wrong_password_is_refused(tmp_path: pathlib.Path) -> None:
    async with sftp_servers.serving(tmp_path, SECRET) as server:
        message = await refused(client(server.port, tmp_path, server.known_hosts, "guess"), "source_unauthorized")
    assert "refused access: check username" in message


async def test_a_server_that_is_not_known_gets_no_password(tmp_path: pathlib.Path) -> None:
    async with sftp_servers.serving(tmp_path, SECRET) as server:
        await refused(client(server.port, tmp_path, ""), "source_unauthorized")


async def test_a_port_where_nothing_listens_is_an_error(tmp_path: pathlib.Path) -> None:
    assert "no connection could be made to 127.0.0.1:1" in await refused(client(1, tmp_path, ""), "source_unreachable")


async def test_known_hosts_that_cannot_be_read_are_an_error(tmp_path: pathlib.Path) -> None:
    server = client(1, tmp_path, "nonsense")
    assert "is not in the form of known_hosts" in await refused(server, "source_unauthorized")
    server.known_hosts_file.unlink()
    assert "cannot be read (No such file or directory)" in await refused(server, "source_unauthorized")
    os.mkfifo(server.known_hosts_file)
    assert "cannot be read (it is not a regular file)" in await refused(server, "source_unauthorized")


@pytest.mark.parametrize("passphrase", [None, "x"])
async def test_a_key_that_cannot_be_used_is_an_error(passphrase: str | None, tmp_path: pathlib.Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem", passphrase=passphrase).decode()
    client(1, tmp_path, "", key if passphrase else key.replace("PRIVATE", "SECRET"))
    server = sftp_source.Server("127.0.0.1", 1, "hr", tmp_path / "known_hosts", tmp_path / "secret", "key_file")
    assert "does not contain one private key without a passphrase" in await refused(server, "source_unauthorized")
