"""Which file of an SFTP server is read, and when it counts as whole."""

import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import anyio
import pytest

from worker.core.model.errors import SourceError
from worker.sources import document_source, fetching, positions, sftp_source

NOW = 1_000_000.0
OLD = NOW - 3600
CSV = b"driver,fleet\na@b,Paris\n"
SERVER = sftp_source.Server("host", 22, "hr", pathlib.Path("known"), pathlib.Path("key"), "key_file")


@dataclasses.dataclass
class Disk:
    """Implements sftp_source.Session, with files in memory."""

    files: dict[str, tuple[bytes, float]] = dataclasses.field(default_factory=dict)
    on_read: Callable[["Disk", str], None] = lambda disk, path: None
    read: list[str] = dataclasses.field(default_factory=list)

    async def entries(self, folder: str) -> Mapping[str, sftp_source.Status]:
        inside = [path for path in self.files if path.rpartition("/")[0] == folder.removeprefix(".")]
        return {path.rpartition("/")[2]: self._status(path) for path in inside}

    async def status(self, path: str) -> sftp_source.Status | None:
        return self._status(path) if path in self.files else None

    async def content(self, path: str, most: int) -> tuple[bytes, sftp_source.Status | None]:
        self.read.append(path)
        data, status = self.files[path][0][:most], self._status(path)
        self.on_read(self, path)
        return data, status

    def _status(self, path: str) -> sftp_source.Status:
        data, mtime = self.files[path]
        return sftp_source.Status(len(data), mtime, is_file=not path.endswith("folder"))

    @contextlib.asynccontextmanager
    async def connect(self, _: sftp_source.Server, __: str) -> AsyncIterator[sftp_source.Session]:
        yield self


def fetcher(disk: Disk, path: str = "people.csv", **given: Any) -> sftp_source.SftpFetcher:
    upload = sftp_source.Upload(path, **given)
    return sftp_source.SftpFetcher(SERVER, upload, "hr", connect=lambda: disk.connect, now=lambda: NOW)


def fetched(disk: Disk, path: str = "people.csv", **given: Any) -> fetching.Fetched:
    return anyio.run(fetcher(disk, path, **given).fetch)


def failure(disk: Disk, code: str, path: str = "people.csv", **given: Any) -> str:
    with pytest.raises(SourceError) as caught:
        fetched(disk, path, **given)
    assert caught.value.code == code
    return caught.value.message


def test_a_file_that_has_settled_is_read() -> None:
    found = fetched(Disk({"people.csv": (CSV, NOW - 60)}))
    assert found.documents == (fetching.Document("people.csv@host", CSV, suffix=".csv", modified=NOW - 60),)


@pytest.mark.parametrize("age", [59, 0, -1, -299])
def test_a_file_that_may_still_be_uploaded_is_not_read(age: float) -> None:
    disk = Disk({"people.csv": (CSV, NOW - age)})
    assert "may still be uploaded" in failure(disk, "source_changed")
    assert disk.read == []
    with pytest.raises(SourceError):
        anyio.run(fetcher(disk).peek)


def test_a_time_in_the_future_is_reported_as_such() -> None:
    assert "correct the server's clock" in failure(Disk({"people.csv": (CSV, NOW + 7200)}), "source_changed")


def test_waiting_can_be_switched_off() -> None:
    assert fetched(Disk({"people.csv": (CSV, NOW)}), settle_seconds=0).proof == ""


class TestTheFileThatSaysSo:
    def test_it_ends_the_waiting(self) -> None:
        assert fetched(Disk({"people.csv": (CSV, NOW), "people.csv.done": (b"", NOW)})).proof == "done_file"

    def test_one_of_an_earlier_upload_does_not(self) -> None:
        failure(Disk({"people.csv": (CSV, NOW), "people.csv.done": (b"", NOW - 1)}), "source_changed")

    def test_one_of_an_earlier_upload_proves_nothing(self) -> None:
        assert fetched(Disk({"people.csv": (CSV, OLD), "people.csv.done": (b"", OLD - 1)})).proof == ""

    def test_a_folder_of_that_name_does_not(self) -> None:
        class Folders(Disk):
            def _status(self, path: str) -> sftp_source.Status:
                return super()._status(path)._replace(is_file=not path.endswith(".done"))

        failure(Folders({"people.csv": (CSV, NOW), "people.csv.done": (b"", NOW)}), "source_changed")

    def test_it_is_no_document(self) -> None:
        disk = Disk({"out/a.csv": (CSV, OLD), "out/a.csv.done": (b"", NOW)})
        assert fetched(disk, "out/*").documents[0].name == "out/a.csv@host"


class TestTheNewest:
    def test_its_time_decides_and_then_its_name(self) -> None:
        files = {"out/p_1.csv": (b"1", OLD), "out/p_3.csv": (b"3", OLD - 1), "out/p_2.csv": (b"2", OLD)}
        assert fetched(Disk(files), "out/p_*.csv").documents[0].data == b"2"

    def test_one_that_is_being_uploaded_is_waited_for(self) -> None:
        """The one before it is older than what the operator expects."""
        files = {"p_1.csv": (CSV, OLD), "p_2.csv": (CSV, NOW)}
        failure(Disk(files), "source_changed", "p_*.csv")

    @pytest.mark.parametrize("given", [{"settle_seconds": 0}, {"manifest": "{path}.json"}, {}])
    def test_one_from_the_future_would_be_the_newest_for_ever(self, given: Any) -> None:
        files = {"p_1.csv": (CSV, NOW + 301), "p_1.csv.done": (b"", NOW + 301), "p_1.csv.json": (b"{}", NOW + 301)}
        assert fetched(Disk(files), "p_*.csv", **given).documents[0].name == "p_1.csv@host"
        files["p_2.csv"] = (CSV, OLD)
        found = failure(Disk(files), "source_changed", "p_*.csv", **given)
        assert "p_1.csv@host: its last change is 301 seconds in the future" in found
        files["p_1.csv"] = (CSV, NOW + 299)
        assert fetched(Disk(files), "p_*.csv", **given).documents[0].name == "p_1.csv@host"

    def test_a_name_that_is_not_utf_8_is_an_error_if_it_is_the_newest(self) -> None:
        odd = b"p_M\xfcller.csv".decode(errors="surrogateescape")
        files = {"p_1.csv": (CSV, OLD), odd: (CSV, OLD - 1)}
        assert fetched(Disk(files), "p_*.csv").documents[0].name == "p_1.csv@host"
        files[odd] = (CSV, OLD + 1)
        found = failure(Disk(files), "source_invalid", "p_*.csv")
        assert found == "'p_M\\udcfcller.csv@host': the file name is not UTF-8: rename the file"

    def test_folders_hidden_files_and_manifests_do_not_match(self) -> None:
        files = {
            "out/a.csv": (CSV, OLD),
            "out/a.csv.json": (b"{}", OLD + 1),
            "out/.b.csv": (CSV, OLD + 2),
            "out/~$a.csv": (CSV, OLD + 2),
            "out/folder": (b"", OLD + 3),
        }
        (document,) = fetched(Disk(files), "out/*", manifest="{path}.json").documents
        assert (document.name, document.manifest) == ("out/a.csv@host", b"{}")

    def test_a_new_one_while_another_is_read_is_read_instead(self) -> None:
        def arrive(disk: Disk, path: str) -> None:
            disk.files["out/b.csv"] = (b"new", OLD + 1)

        assert fetched(Disk({"out/a.csv": (CSV, OLD)}, arrive), "out/*.csv").documents[0].data == b"new"

    def test_none_is_an_error(self) -> None:
        assert "no file that matches out/*" in failure(Disk({"a.csv": (CSV, OLD)}), "source_unreachable", "out/*")


class TestAChange:
    def test_the_file_is_read_again(self) -> None:
        def replace(disk: Disk, path: str) -> None:
            disk.files[path] = (CSV * 2, OLD + 1)

        assert fetched(Disk({"people.csv": (CSV, OLD)}, replace)).documents[0].data == CSV * 2

    def test_a_file_that_changes_again_and_again_is_an_error(self) -> None:
        def grow(disk: Disk, path: str) -> None:
            data, mtime = disk.files[path]
            disk.files[path] = (data + b"x", mtime)

        assert "rename the file into place" in failure(Disk({"people.csv": (CSV, OLD)}, grow), "source_changed")

    def test_a_file_that_was_swapped_only_while_it_was_read_is_not_read(self) -> None:
        class Swapped(Disk):
            async def content(self, path: str, most: int) -> tuple[bytes, sftp_source.Status | None]:
                return CSV.upper(), sftp_source.Status(len(CSV), OLD - 1, is_file=True)

        failure(Swapped({"people.csv": (CSV, OLD)}), "source_changed")

    def test_a_shorter_content_than_promised_is_none(self) -> None:
        class Short(Disk):
            async def content(self, path: str, most: int) -> tuple[bytes, sftp_source.Status | None]:
                data, status = await super().content(path, most)
                return data[:-1], status

        failure(Short({"people.csv": (CSV, OLD)}), "source_changed")

    def test_a_file_that_is_gone_is_an_error(self) -> None:
        def remove(disk: Disk, path: str) -> None:
            del disk.files[path]

        failure(Disk({"people.csv": (CSV, OLD)}, remove), "source_unreachable")


def test_a_missing_manifest_says_that_the_document_is_on_its_way() -> None:
    disk = Disk({"people.csv": (CSV, NOW)})
    assert "people.csv.json is not there" in failure(disk, "source_incomplete", manifest="{path}.json")


def test_a_manifest_that_is_no_file_is_not_read() -> None:
    """Reading a pipe would block until the deadline."""
    disk = Disk({"people.csv": (CSV, OLD), "folder": (b"", OLD)})
    assert "its manifest folder is not a regular file" in failure(disk, "source_invalid", manifest="folder")
    assert disk.read == []


def test_a_manifest_ends_the_waiting() -> None:
    disk = Disk({"out/people.csv": (CSV, NOW), "out/m.json": (b"{}", NOW)})
    assert fetched(disk, "out/people.csv", manifest="m.json").documents[0].manifest == b"{}"


def test_a_file_that_is_too_large_is_not_read() -> None:
    class Large(Disk):
        def _status(self, path: str) -> sftp_source.Status:
            return sftp_source.Status(positions.MAX_BYTES + 1, OLD, is_file=True)

    disk = Large({"people.csv": (CSV, OLD)})
    failure(disk, "source_too_large")
    assert disk.read == []


def test_a_folder_is_an_error() -> None:
    assert "is not a file" in failure(Disk({"folder": (b"", OLD)}), "source_invalid", "folder")


def test_peeking_notices_whatever_a_reading_would() -> None:
    disk = Disk({"out/a.csv": (CSV, OLD), "out/a.csv.json": (b"{}", OLD)})
    peek = fetcher(disk, "out/*.csv", manifest="{path}.json").peek
    revisions = [anyio.run(peek), anyio.run(peek)]
    changes = [("out/a.csv", CSV + b"x"), ("out/a.csv.json", b"{} "), ("out/a.csv.done", b"")]
    for path, data in changes:
        disk.files[path] = (data, OLD)
        revisions.append(anyio.run(peek))
    disk.files |= {"out/b.csv": (CSV, OLD + 1), "out/b.csv.json": (b"{}", OLD)}
    revisions.append(anyio.run(peek))
    assert len(revisions) - 1 == len({*revisions}) == 5


def test_a_server_that_says_nothing_ends_at_the_deadline() -> None:
    class Silent(Disk):
        async def status(self, path: str) -> sftp_source.Status | None:
            await anyio.sleep_forever()
            raise AssertionError

    assert "timeout_seconds = 0.01" in failure(Silent(), "source_timeout", timeout=0.01)


def test_without_the_extra_the_error_says_what_to_install() -> None:
    def missing() -> sftp_source.Connect:
        raise ImportError

    without = sftp_source.SftpFetcher(SERVER, sftp_source.Upload("people.csv"), "hr", connect=missing)
    with pytest.raises(SourceError, match=r"install fleet-sync\[sftp\]"):
        anyio.run(document_source.DocumentSource("sftp", "hr", without).read)
