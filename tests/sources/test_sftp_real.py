"""Documents from OpenSSH's server: who is trusted, and what an upload looks like from outside."""

import os
import pathlib
import random
import time
from collections.abc import Iterator

import anyio
import pytest

from tests.sources import ssh_servers
from worker.core.model.errors import SourceError
from worker.service import source_factory
from worker.settings import loader
from worker.sources import document_source

CSV = "driver,fleet\n" + "".join(f"driver-{number}@example.com,Paris\n" for number in range(20_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssh_servers.Server]:
    with ssh_servers.sshd(tmp_path_factory.mktemp("sshd")) as started:
        yield started


@pytest.fixture
def out(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the folder on the server."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def put(path: pathlib.Path, text: str, *, age: float = 3600) -> None:
    """Write a file that changed so many seconds ago."""
    path.write_text(text)
    moment = time.time() - age
    os.utime(path, (moment, moment))


def source(
    server: ssh_servers.Server, path: pathlib.Path, *, port: int | None = None, more: str = "", **keys: str
) -> document_source.DocumentSource:
    files = {"known_hosts_file": server.folder / "known_hosts", "key_file": server.folder / "key"} | keys
    lines = "".join(f'{key} = "{text}"\n' for key, text in files.items())
    settings = server.folder / "fleet-sync.toml"
    settings.write_text(
        f'[[sources]]\nkind = "sftp"\nhost = "127.0.0.1"\nport = {port or server.port}\n'
        f'username = "{server.user}"\npath = "{path}"\n{lines}{more}'
    )
    (made,) = source_factory.create(loader.load(settings, {}))
    return made


def failure(reading: document_source.DocumentSource) -> tuple[str, str]:
    with pytest.raises(SourceError) as caught:
        anyio.run(reading.read)
    return caught.value.code, caught.value.message


def test_a_document_is_read_whole(server: ssh_servers.Server, out: pathlib.Path) -> None:
    put(out / "people.csv", CSV)
    reading = anyio.run(source(server, out / "people.csv").read)
    assert (len(reading.rows), reading.source.proof) == (20_000, "none")
    assert str(reading.rows[0].origin) == f"{out}/people.csv@127.0.0.1:2:1"


class TestWhoIsTrusted:
    def test_a_server_whose_key_is_not_known_is_not(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        put(out / "people.csv", CSV)
        (server.folder / "empty").write_text("")
        code, message = failure(source(server, out / "people.csv", known_hosts_file="empty"))
        assert code == "source_unauthorized"
        assert "is not in known_hosts_file, or is another one" in message

    def test_a_server_with_another_key_is_not(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        put(out / "people.csv", CSV)
        ssh_servers.write_key(server.folder / "other")
        other = (server.folder / "other.pub").read_text()
        (server.folder / "others").write_text(f"[127.0.0.1]:{server.port} {other}")
        assert failure(source(server, out / "people.csv", known_hosts_file="others"))[0] == "source_unauthorized"

    def test_a_key_that_the_server_does_not_know_is_refused(
        self, server: ssh_servers.Server, out: pathlib.Path
    ) -> None:
        put(out / "people.csv", CSV)
        ssh_servers.write_key(server.folder / "wrong")
        code, message = failure(source(server, out / "people.csv", key_file="wrong"))
        assert code == "source_unauthorized"
        assert "refused access" in message


class TestAnUpload:
    def test_a_file_that_is_being_uploaded_is_not_read(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        put(out / "people.csv", CSV[: len(CSV) // 2], age=5)
        code, message = failure(source(server, out / "people.csv"))
        assert code == "source_changed"
        assert "changed within the last settle_seconds = 60" in message
        put(out / "people.csv", CSV, age=61)
        assert len(anyio.run(source(server, out / "people.csv").read).rows) == 20_000

    def test_a_file_beside_it_says_that_it_is_complete(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        put(out / "people.csv", CSV, age=5)
        put(out / "people.csv.done", "", age=4)
        assert anyio.run(source(server, out / "people.csv").read).source.proof == "done_file"
        put(out / "people.csv", CSV, age=2)
        assert failure(source(server, out / "people.csv"))[0] == "source_changed"

    def test_a_rename_into_place_is_noticed(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        put(out / "people.csv", CSV)
        reading = source(server, out / "people.csv")
        before = anyio.run(reading.peek)
        assert anyio.run(reading.peek) == before
        put(out / ".people.csv.part", CSV.replace("driver-7@", "driver-8@"), age=100)
        (out / ".people.csv.part").rename(out / "people.csv")
        assert anyio.run(reading.peek) != before


class TestDatedFiles:
    def test_the_newest_is_read(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        """Its time counts: names sort otherwise at the end of a month."""
        for age, name in enumerate(["01-12-2026", "30-11-2026", "29-11-2026"], start=1):
            put(out / f"people_{name}.csv", f"driver,fleet\n{name}@example.com,Paris\n", age=age * 3600)
        put(out / "people_01-12-2026.csv.done", "")
        put(out / ".people_02-12-2026.csv", "")
        (out / "people_folder.csv").mkdir()
        reading = anyio.run(source(server, out / "people_*.csv").read)
        assert [str(row.driver) for row in reading.rows] == ["01-12-2026@example.com"]

    def test_none_that_matches_is_an_error(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        assert failure(source(server, out / "people_*.csv"))[0] == "source_unreachable"
        assert failure(source(server, out / "none" / "people_*.csv"))[0] == "source_unreachable"
        assert failure(source(server, out / "people.csv"))[0] == "source_unreachable"


class TestAManifest:
    MORE = '[sources.completeness]\nmanifest = "{path}.json"\n'

    def test_it_proves_that_a_new_file_is_complete(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        put(out / "people_1.csv", CSV, age=1)
        put(out / "people_1.csv.json", '{"rows": 20000}', age=1)
        assert anyio.run(source(server, out / "people_*", more=self.MORE).read).source.proof == "manifest"

    def test_without_it_nothing_is_read(self, server: ssh_servers.Server, out: pathlib.Path) -> None:
        put(out / "people.csv", CSV)
        assert failure(source(server, out / "people.csv", more=self.MORE))[0] == "source_incomplete"


def test_a_connection_that_is_killed_is_never_a_whole_document(server: ssh_servers.Server, out: pathlib.Path) -> None:
    put(out / "people.csv", CSV)
    seeded = random.Random(7)
    codes = set()

    async def read(most: int) -> None:
        async with ssh_servers.cutting(server.port, most) as port:
            (server.folder / "cut").write_text(server.known_hosts(port))
            with pytest.raises(SourceError) as caught:
                await source(server, out / "people.csv", port=port, known_hosts_file="cut").read()
            codes.add(caught.value.code)

    for most in [0, *(seeded.randrange(len(CSV)) for _ in range(20))]:
        anyio.run(read, most)
    assert codes == {"source_unreachable", "source_incomplete"}
