"""Objects of moto's imitation of S3."""

import pathlib
from collections.abc import Iterator

import anyio
import httpx
import pytest
from moto import server as moto_server

from worker.core.model.errors import SourceError
from worker.service import source_factory
from worker.settings import loader
from worker.sources import document_source

CSV = b"driver,fleet\n" + b"".join(b"driver-%d@example.com,Paris\n" % number for number in range(10_000))


class Bucket:
    """A bucket of the server, written to with credentials that the server does not check."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.ask("PUT", "")

    def ask(self, method: str, key: str, content: bytes = b"") -> None:
        login = {"Authorization": "AWS4-HMAC-SHA256 Credential=hr/20260301/us-east-1/s3/aws4_request"}
        httpx.request(method, f"{self.endpoint}/people/{key}", content=content, headers=login).raise_for_status()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield Bucket("http://{}:{}".format(*server.get_host_and_port()))
    finally:
        server.stop()


def source(bucket: Bucket, folder: pathlib.Path, more: str = "") -> document_source.DocumentSource:
    (folder / "secret").write_text("s3cr3t")
    settings = folder / "fleet-sync.toml"
    settings.write_text(
        f'[[sources]]\nkind = "object"\nurl = "s3://people/out/people.csv"\nregion = "eu-west-1"\n'
        f'endpoint = "{bucket.endpoint}"\naccess_key_id = "hr"\nsecret_file = "secret"\n{more}'
    )
    (made,) = source_factory.create(loader.load(settings, {}))
    return made


def failure(reading: document_source.DocumentSource) -> str:
    with pytest.raises(SourceError) as caught:
        anyio.run(reading.read)
    return caught.value.code


def test_an_object_is_read_whole(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    bucket.ask("PUT", "out/people.csv", CSV)
    reading = anyio.run(source(bucket, tmp_path).read)
    assert (len(reading.rows), reading.source.proof) == (10_000, "length")
    assert reading.source.revision.startswith("etag:")
    assert reading.source.modified is not None


def test_a_deleted_key_is_an_error(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    bucket.ask("PUT", "out/people.csv", CSV)
    reading = source(bucket, tmp_path)
    anyio.run(reading.read)
    bucket.ask("DELETE", "out/people.csv")
    assert failure(reading) == "source_unreachable"
    with pytest.raises(SourceError):
        anyio.run(reading.peek)


def test_what_changes_between_peek_and_read_is_noticed(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    bucket.ask("PUT", "out/people.csv", CSV)
    reading = source(bucket, tmp_path)
    first, before = anyio.run(reading.read), anyio.run(reading.peek)
    assert anyio.run(reading.peek) == before
    bucket.ask("PUT", "out/people.csv", CSV + b"x@y,Paris\n")
    second = anyio.run(reading.read)
    assert len(second.rows) == 10_001
    assert second.source.revision != first.source.revision
    assert anyio.run(reading.peek) != before


def test_a_manifest_proves_the_object(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    more = '[sources.completeness]\nmanifest = "{path}.json"\n'
    bucket.ask("PUT", "out/people.csv", CSV)
    bucket.ask("PUT", "out/people.csv.json", b'{"rows": 10000}')
    assert anyio.run(source(bucket, tmp_path, more).read).source.proof == "manifest"
    bucket.ask("PUT", "out/people.csv.json", b'{"rows": 10001}')
    assert failure(source(bucket, tmp_path, more)) == "source_incomplete"
