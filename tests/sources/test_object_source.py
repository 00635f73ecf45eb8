"""Objects in buckets: whole, of one version, or an error."""

import contextlib
import dataclasses
import datetime
import http.server
import pathlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from worker.core.model.errors import SourceError
from worker.core.model.secret import Secret
from worker.sources import document_source, fetching, object_source, positions

CSV = b"driver,fleet\na@b,Paris\n"
SECRET = "s3cr3t-of-the-source"
MODIFIED = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass
class Shelf:
    """Implements object_source.Store, with objects in memory. `sent` is how much of each arrives."""

    objects: dict[str, tuple[object_source.Head, bytes]]
    sent: int | None = None

    async def head(self, key: str) -> object_source.Head:
        return self.objects[key][0]

    async def get(self, key: str) -> tuple[object_source.Head, AsyncIterator[bytes]]:
        head, data = self.objects[key]
        return head, self._parts(data[: self.sent])

    async def _parts(self, data: bytes) -> AsyncIterator[bytes]:
        for place in range(0, len(data), 10):
            yield data[place : place + 10]

    def open_bucket(self, _: object_source.Bucket, __: Secret | None, ___: str) -> object_source.Store:
        return self


def stored(data: bytes = CSV, etag: str = "v1", **given: Any) -> tuple[object_source.Head, bytes]:
    return object_source.Head(etag, given.pop("size", len(data)), MODIFIED, **given), data


def fetcher(shelf: Shelf, **given: Any) -> object_source.ObjectFetcher:
    bucket = object_source.Bucket("s3", "hr", "out/people.csv", timeout=given.pop("timeout", 60.0))
    return object_source.ObjectFetcher(bucket, "hr", opening=lambda: shelf.open_bucket, **given)


def failure(shelf: Shelf, code: str, **given: Any) -> str:
    with pytest.raises(SourceError) as caught:
        anyio.run(fetcher(shelf, **given).fetch)
    assert caught.value.code == code
    return caught.value.message


def test_the_etag_is_the_revision() -> None:
    found = anyio.run(fetcher(Shelf({"out/people.csv": stored(media_type="text/csv")})).fetch)
    document = fetching.Document("hr", CSV, ".csv", "text/csv", MODIFIED.timestamp())
    assert found == fetching.Fetched((document,), revision="etag:v1", proof="length")


def test_without_an_etag_the_content_is() -> None:
    found = fetcher(Shelf({"out/people.csv": stored(etag="")}))
    assert anyio.run(found.fetch).revision == ""
    assert anyio.run(found.peek) is None


@pytest.mark.parametrize("sent", range(len(CSV)))
def test_a_part_of_an_object_is_incomplete(sent: int) -> None:
    assert "bytes of out/people.csv arrived" in failure(
        Shelf({"out/people.csv": stored()}, sent=sent), "source_incomplete"
    )


def test_more_than_was_promised_is_an_error_too() -> None:
    failure(Shelf({"out/people.csv": stored(size=5)}), "source_incomplete")


def test_an_object_that_is_too_large_is_not_read() -> None:
    failure(Shelf({"out/people.csv": stored(size=positions.MAX_BYTES + 1)}), "source_too_large")


def test_a_compressed_object_is_an_error() -> None:
    assert "stored with Content-Encoding: gzip" in failure(
        Shelf({"out/people.csv": stored(encoding="gzip")}), "source_invalid"
    )


@pytest.mark.parametrize(
    ("manifest", "key"),
    [("totals.json", "out/totals.json"), ("../{path}.json", "people.csv.json"), ("/m/./t.json", "m/t.json")],
)
def test_a_manifest_may_be_in_another_folder(manifest: str, key: str) -> None:
    """A store has no folders, and takes .. for a part of the key."""
    shelf = Shelf({"out/people.csv": stored(), key: stored(b"{}")})
    assert anyio.run(fetcher(shelf, manifest=manifest).fetch).documents[0].manifest == b"{}"


def test_a_manifest_is_an_object_beside_it() -> None:
    shelf = Shelf({"out/people.csv": stored(), "out/people.csv.json": stored(b"{}", "m1")})
    found = fetcher(shelf, manifest="{path}.json")
    assert anyio.run(found.fetch).documents[0].manifest == b"{}"
    before = anyio.run(found.peek)
    shelf.objects["out/people.csv.json"] = stored(b"{}", "m2")
    assert anyio.run(found.peek) != before


def test_a_store_that_says_nothing_ends_at_the_deadline() -> None:
    class Silent(Shelf):
        async def get(self, key: str) -> tuple[object_source.Head, AsyncIterator[bytes]]:
            await anyio.sleep_forever()
            raise AssertionError

    assert "timeout_seconds = 0.01" in failure(Silent({}), "source_timeout", timeout=0.01)


def test_without_the_extra_the_error_says_what_to_install() -> None:
    def missing() -> object_source.Open:
        raise ImportError

    without = object_source.ObjectFetcher(object_source.Bucket("s3", "hr", "a.csv"), "hr", opening=missing)
    with pytest.raises(SourceError, match=r"install fleet-sync\[object\]"):
        anyio.run(document_source.DocumentSource("object", "hr", without).read)


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def serving(*answers: Answer) -> Iterator[str]:
    """Answer one request after the other so, and all further ones like the last."""
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (left.pop(0) if len(left) > 1 else left[0])(self)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def answer(status: int, body: bytes = CSV) -> Answer:
    def send(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("ETag", '"v1"')
        request.send_header("Last-Modified", "Sun, 01 Mar 2026 00:00:00 GMT")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return send


def source(url: str, folder: pathlib.Path, *, scheme: object_source.Scheme = "s3") -> document_source.DocumentSource:
    (folder / "secret").write_text(SECRET)
    bucket = object_source.Bucket(scheme, "hr", "people.csv", "eu-west-1", url, "hr", folder / "secret", timeout=60)
    return document_source.DocumentSource("object", "hr", object_source.ObjectFetcher(bucket, "hr"))


def test_an_error_of_the_store_that_passes_is_waited_for(tmp_path: pathlib.Path) -> None:
    with serving(answer(503, b""), answer(500, b""), answer(200)) as url:
        reading = anyio.run(source(url, tmp_path).read)
    assert (len(reading.rows), reading.source.revision, reading.source.modified) == (1, "etag:v1", MODIFIED)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "source_unreachable"),
        (400, "source_unreachable"),
        (404, "source_unreachable"),
        (401, "source_unauthorized"),
        (403, "source_unauthorized"),
    ],
)
def test_other_answers_are_errors(status: int, code: str, tmp_path: pathlib.Path) -> None:
    with serving(answer(status, SECRET.encode())) as url:
        for call in (source(url, tmp_path).read, source(url, tmp_path).peek):
            with pytest.raises(SourceError) as caught:
                anyio.run(call)
            assert caught.value.code == code
            assert SECRET not in f"{caught.value!r} {caught.value.message}"


def test_a_secret_that_fits_no_store_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SourceError, match="the content of secret_file"):
        anyio.run(source("", tmp_path, scheme="gs").read)
    with pytest.raises(SourceError, match="the content of secret_file"):
        anyio.run(source("", tmp_path, scheme="az").read)
