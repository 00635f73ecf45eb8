"""Every built-in kind of source keeps the contract that plugins keep."""

import contextlib
import http.server
import json
import os
import pathlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.sources import git_repositories, sftp_servers
from worker.core.model.errors import SettingsError
from worker.core.model.ports import Source
from worker.service import source_factory
from worker.settings import loader
from worker.sources import contract

SECRET = "s3cr3t-of-the-source"


def document(memberships: contract.Memberships) -> bytes:
    return json.dumps({"fleets": {fleet: list(drivers) for fleet, drivers in memberships.items()}}).encode()


class BuiltIn(contract.SourceContract):
    """Makes sources from a settings file, as the program does."""

    cancel_seconds = 30.0  # also on a machine that is busy
    unknown_keys_error = SettingsError
    name = ""

    def source(self, keys: Mapping[str, Any], folder: pathlib.Path) -> Source:
        lines = [f"{key} = {_toml(setting)}\n" for key, setting in {"kind": self.name, **keys}.items()]
        (folder / "fleet-sync.toml").write_text(f"[[sources]]\n{''.join(lines)}")
        (source,) = source_factory.create(loader.load(folder / "fleet-sync.toml", {}))
        return source


def _toml(setting: Any) -> str:
    if isinstance(setting, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(text)}" for key, text in setting.items()) + "}"
    return json.dumps(setting)


class FileOrigin(contract.Origin):
    """A JSON file: no part of JSON is valid. Nothing on a disk can stall."""

    cuts = 20

    def __init__(self, folder: pathlib.Path) -> None:
        self.keys = {"path": "people.json"}
        self._path = folder / "people.json"

    async def publish(self, memberships: contract.Memberships) -> None:
        self._path.write_bytes(document(memberships))

    async def cut(self, place: int) -> None:
        whole = self._path.read_bytes()
        self._path.write_bytes(whole[: len(whole) * place // self.cuts])

    async def stall(self) -> None:
        pass


class TestFile(BuiltIn):
    name = "file"

    @pytest.fixture
    def origin(self, tmp_path: pathlib.Path) -> contract.Origin:
        return FileOrigin(tmp_path)


class HttpOrigin(contract.Origin):
    """A server that knows versions, demands a password, and cuts bodies."""

    cuts = 20
    secrets = (SECRET,)

    def __init__(self, url: str, folder: pathlib.Path) -> None:
        (folder / "password").write_text(SECRET)
        self.keys = {
            "url": f"{url}/people.json?key={SECRET}",
            "username": "hr",
            "password_file": "password",
            "poll_seconds": 5,
        }
        self.body = b""
        self.length: int | None = None
        self.stalled = threading.Event()
        self.stopped = threading.Event()

    async def publish(self, memberships: contract.Memberships) -> None:
        self.body = document(memberships) if memberships else b""
        self.length = None

    async def cut(self, place: int) -> None:
        self.length = len(self.body) * place // self.cuts

    async def stall(self) -> None:
        self.stalled.set()

    @classmethod
    @contextlib.contextmanager
    def serving(cls, folder: pathlib.Path) -> Iterator["HttpOrigin"]:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                origin.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            origin = cls(f"http://127.0.0.1:{server.server_address[1]}", folder)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield origin
            finally:
                origin.stopped.set()
                server.shutdown()
                thread.join()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        etag = f'"{hash(self.body)}"'
        unchanged = request.headers["If-None-Match"] == etag and self.length is None
        request.send_response(304 if unchanged else 200)
        request.send_header("ETag", etag)
        request.send_header("Content-Length", str(len(self.body)))
        request.end_headers()
        if self.stalled.is_set():
            self.stopped.wait()
        if not unchanged:
            request.wfile.write(self.body[: self.length])


class TestHttp(BuiltIn):
    name = "http"

    @pytest.fixture
    def origin(self, tmp_path: pathlib.Path) -> Iterator[contract.Origin]:
        with HttpOrigin.serving(tmp_path) as origin:
            yield origin


class ObjectOrigin(HttpOrigin):
    """A store that speaks the protocol of S3. It does not resume transfers, so a cut is final."""

    cuts = 3

    def __init__(self, url: str, folder: pathlib.Path) -> None:
        super().__init__(url, folder)
        self.keys = {
            "url": "s3://hr/people.json",
            "region": "eu-west-1",
            "endpoint": url,
            "access_key_id": "hr",
            "secret_file": "password",
        }

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("ETag", f'"{hash(self.body)}"')
        request.send_header("Last-Modified", "Sun, 01 Mar 2026 00:00:00 GMT")
        request.send_header("Content-Length", str(len(self.body)))
        request.end_headers()
        if self.stalled.is_set():
            self.stopped.wait()
        if request.command == "GET":
            request.wfile.write(self.body[: self.length])


class TestObject(BuiltIn):
    name = "object"

    @pytest.fixture
    def origin(self, tmp_path: pathlib.Path) -> Iterator[contract.Origin]:
        with ObjectOrigin.serving(tmp_path) as origin:
            yield origin


class SftpOrigin(contract.Origin):
    """A server with a password. It ends the connection at odd cuts, and sends less than it promised at others."""

    cuts = 6
    secrets = (SECRET,)

    def __init__(self, server: sftp_servers.Server, folder: pathlib.Path) -> None:
        (folder / "password").write_text(SECRET)
        (folder / "known_hosts").write_text(server.known_hosts)
        self.keys = {
            "host": "127.0.0.1",
            "port": server.port,
            "username": sftp_servers.USER,
            "path": "people_*.json",
            "password_file": "password",
            "known_hosts_file": "known_hosts",
        }
        self._server = server
        self._published = 0

    async def publish(self, memberships: contract.Memberships) -> None:
        self._server.faults.most = None
        self._published += 1
        path = self._server.folder / "people_1.json"
        path.write_bytes(document(memberships))
        os.utime(path, (self._published, self._published))

    async def cut(self, place: int) -> None:
        length = (self._server.folder / "people_1.json").stat().st_size
        self._server.faults.most = length * place // self.cuts
        self._server.faults.is_rude = place % 2 == 1

    async def stall(self) -> None:
        self._server.faults.is_stalled = True


class TestSftp(BuiltIn):
    name = "sftp"

    @pytest.fixture
    async def origin(self, tmp_path: pathlib.Path, anyio_backend: str) -> AsyncIterator[contract.Origin]:
        (tmp_path / "served").mkdir()
        async with sftp_servers.serving(tmp_path / "served", SECRET) as server:
            yield SftpOrigin(server, tmp_path)


class CommandOrigin(contract.Origin):
    """A script that prints a file, or fails after some of it."""

    cuts = 20
    secrets = (SECRET,)

    def __init__(self, folder: pathlib.Path) -> None:
        self.keys = {
            "run": ["sh", "export.sh"],
            "peek": ["cksum", "people.json"],
            "env": {"PASSWORD": SECRET},
        }
        self._folder = folder
        self._publish("cat people.json")

    def _publish(self, script: str) -> None:
        (self._folder / "export.sh").write_text(f'echo "login with $PASSWORD" >&2\n{script}\n')

    async def publish(self, memberships: contract.Memberships) -> None:
        (self._folder / "people.json").write_bytes(document(memberships))
        self._publish("cat people.json")

    async def cut(self, place: int) -> None:
        """Fail after all of the output at odd places, and succeed after some of it at even ones."""
        length = len((self._folder / "people.json").read_bytes())
        self._publish("cat people.json; exit 1" if place % 2 else f"head -c {length * place // self.cuts} people.json")

    async def stall(self) -> None:
        self._publish("head -c 9 people.json; sleep 600")


class TestCommand(BuiltIn):
    name = "command"

    @pytest.fixture
    def origin(self, tmp_path: pathlib.Path) -> contract.Origin:
        return CommandOrigin(tmp_path)


class SqlOrigin(contract.Origin):
    """An SQLite file. At every cut the rows stop coming, because a value cannot be read."""

    cuts = 3

    def __init__(self, folder: pathlib.Path) -> None:
        self.keys = {
            "url_file": "url",
            "query": "SELECT driver, fleet FROM people",
            "revision_query": "SELECT count(*), group_concat(driver || fleet) FROM people",
        }
        (folder / "url").write_text("sqlite:///people.db")
        self._path = folder / "people.db"

    def _tell(self, *statements: tuple[str, Sequence[tuple[Any, ...]]]) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as connection, connection:
            for statement, rows in statements:
                connection.executemany(statement, rows)

    async def publish(self, memberships: contract.Memberships) -> None:
        rows = [(driver, fleet) for fleet, drivers in memberships.items() for driver in drivers]
        self._path.unlink(missing_ok=True)
        self._tell(("CREATE TABLE people (driver, fleet)", [()]), ("INSERT INTO people VALUES (?, ?)", rows))

    async def cut(self, place: int) -> None:
        self._tell(("UPDATE people SET driver = CAST(x'ff' AS text) WHERE rowid = ?", [(place + 1,)]))

    async def stall(self) -> None:
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*), 1 FROM n"
        self._tell(
            ("ALTER TABLE people RENAME TO no_people", [()]), (f"CREATE VIEW people (driver, fleet) AS {endless}", [()])
        )


class TestSql(BuiltIn):
    name = "sql"

    @pytest.fixture
    def origin(self, tmp_path: pathlib.Path) -> contract.Origin:
        return SqlOrigin(tmp_path)


class GitOrigin(contract.Origin):
    """A repository, an object of which is cut short. Nothing of a `file://` address can stall."""

    cuts = 20

    def __init__(self, folder: pathlib.Path) -> None:
        self._repository = git_repositories.Repository(folder / "people")
        self.keys = {"url": self._repository.url, "path": "people.json"}

    async def publish(self, memberships: contract.Memberships) -> None:
        for path in (self._repository.folder / ".git" / "objects").glob("??/*"):
            if path.name.endswith(".cut"):
                path.replace(path.with_suffix(""))
        self._repository.commit({"people.json": document(memberships).decode()})

    async def cut(self, place: int) -> None:
        blob = self._repository.git("rev-parse", "HEAD:people.json")
        path = self._repository.folder / ".git" / "objects" / blob[:2] / blob[2:]
        whole = path.read_bytes()
        path.replace(path.with_suffix(".cut"))
        path.write_bytes(whole[: len(whole) * place // self.cuts])

    async def stall(self) -> None:
        pass


class TestGit(BuiltIn):
    name = "git"

    @pytest.fixture
    def origin(self, tmp_path: pathlib.Path) -> contract.Origin:
        return GitOrigin(tmp_path)
