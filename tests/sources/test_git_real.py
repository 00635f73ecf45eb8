"""Documents from Git repositories over OpenSSH's server."""

import pathlib
from collections.abc import Iterator

import anyio
import pytest

from tests.sources import git_repositories, ssh_servers
from worker.core.model.errors import SourceError
from worker.service import source_factory
from worker.settings import loader
from worker.sources import document_source

CSV = "driver,fleet\na@b,Paris\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssh_servers.Server]:
    with ssh_servers.sshd(tmp_path_factory.mktemp("ssh server")) as started:
        yield started


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> git_repositories.Repository:
    found = git_repositories.Repository(tmp_path / "hr")
    found.commit({"people.csv": CSV})
    return found


def source(
    server: ssh_servers.Server, repository: git_repositories.Repository, *, key: str = "key", known: str = "known_hosts"
) -> document_source.DocumentSource:
    settings = repository.folder.parent / "fleet-sync.toml"
    settings.write_text(
        f'[[sources]]\nkind = "git"\npath = "people.csv"\n'
        f'url = "ssh://{server.user}@127.0.0.1:{server.port}{repository.folder}"\n'
        f'key_file = "{server.folder / key}"\nknown_hosts_file = "{server.folder / known}"\n'
    )
    (made,) = source_factory.create(loader.load(settings, {}))
    return made


def test_a_document_is_read_over_ssh(server: ssh_servers.Server, repository: git_repositories.Repository) -> None:
    async def read() -> None:
        reading = source(server, repository)
        first, revision = await reading.read(), await reading.peek()
        assert [str(row.driver) for row in first.rows] == ["a@b"]
        repository.commit({"people.csv": CSV + "c@d,Paris\n"})
        assert await reading.peek() != revision
        second = await reading.read()
        assert len(second.rows) == 2
        assert await reading.descends(second.source.version, before=first.source.version)

    anyio.run(read)


def test_a_server_or_key_that_is_not_known_is_refused(
    server: ssh_servers.Server, repository: git_repositories.Repository
) -> None:
    (server.folder / "empty").write_text("")
    ssh_servers.write_key(server.folder / "wrong")
    for reading in (source(server, repository, known="empty"), source(server, repository, key="wrong")):
        for call in (reading.read, reading.peek):
            with pytest.raises(SourceError) as caught:
                anyio.run(call)
            assert caught.value.code == "source_unauthorized"
