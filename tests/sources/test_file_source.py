"""Files and folders: read whole, or an error."""

import datetime
import hashlib
import os
import pathlib
from typing import Any

import anyio
import pytest

from tests.support import file_sources
from worker.core.model.desired import SourceReading, SourceRevision
from worker.core.model.errors import SourceError
from worker.core.model.ports import Source
from worker.sources import file_source

A = "fleets: {a: [x@y]}"
B = "driver,fleet\nz@y,a\nz@y,b\n"


def read(path: pathlib.Path, name: str = "teams") -> SourceReading:
    source: Source = file_sources.of(path, name)
    return anyio.run(source.read)


def peek(path: pathlib.Path, name: str = "teams") -> str | None:
    source: Source = file_sources.of(path, name)
    return anyio.run(source.peek)


def problems(path: pathlib.Path, name: str = "teams") -> list[str]:
    with pytest.raises(SourceError) as caught:
        read(path, name)
    return [str(problem) for problem in caught.value.problems]


def folder(path: pathlib.Path, **contents: str) -> pathlib.Path:
    for name, text in contents.items():
        (path / name.replace("_", ".")).write_text(text)
    return path


def test_the_revision_is_the_hash_of_what_was_read(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path, a_yaml=A) / "a.yaml"
    expected = f"sha256:{hashlib.sha256(A.encode()).hexdigest()}"
    modified = datetime.datetime.fromtimestamp(path.stat().st_mtime_ns / 1e9, datetime.UTC)
    assert read(path, "a.yaml").source == SourceRevision("file", "a.yaml", expected, rows=1, modified=modified)


def test_a_folder_contains_all_its_documents_in_order(tmp_path: pathlib.Path) -> None:
    reading = read(folder(tmp_path, b_csv=B, a_yaml=A, C_JSON='{"fleets": {"c": []}}'), "teams/")
    assert [str(row.origin) for row in reading.rows] == ["teams/a.yaml:1:14", "teams/b.csv:2:1", "teams/b.csv:3:1"]
    assert [str(entry.fleet) for entry in reading.fleets] == ['"c"', '"a"', '"a"', '"b"']
    assert reading.source.name == "teams/"


def test_the_revision_of_a_folder_changes_with_any_name_or_content(tmp_path: pathlib.Path) -> None:
    seen = {read(folder(tmp_path, b_csv=B, a_yaml=A)).source.revision}
    folder(tmp_path, a_yaml=A + "\n")
    seen.add(read(tmp_path).source.revision)
    (tmp_path / "a.yaml").rename(tmp_path / "a2.yaml")
    seen.add(read(tmp_path).source.revision)
    assert len(seen) == 3


def test_a_config_map_is_read_through_its_links(tmp_path: pathlib.Path) -> None:
    (tmp_path / "..2026_01").mkdir()
    folder(tmp_path / "..2026_01", a_yaml=A)
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert [str(row.origin) for row in read(tmp_path).rows] == ["teams/a.yaml:1:14"]


def test_hidden_files_are_ignored(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, a_yaml=A)
    (tmp_path / ".a.yaml.swp").write_bytes(b"\0")
    (tmp_path / "~$a.xlsx").write_bytes(b"\x03Ann")  # of Excel, while somebody has the workbook open
    assert len(read(tmp_path).rows) == 1


def test_a_missing_file_is_an_error(tmp_path: pathlib.Path) -> None:
    (problem,) = problems(tmp_path / "none.yaml", "none.yaml")
    assert problem == "none.yaml: file not found: correct the path, or create one with `fleet-sync export`"


def test_a_folder_without_documents_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".hidden.yaml").write_text(A)
    (problem,) = problems(tmp_path)
    assert "the folder contains no document" in problem


def test_anything_in_a_folder_that_is_not_a_document_is_an_error(tmp_path: pathlib.Path) -> None:
    """The rows of a file that is skipped would count as absent."""
    folder(tmp_path, a_yaml=A, b_txt=A, c_yaml="")
    (tmp_path / "d").mkdir()
    (tmp_path / "e.yaml").symlink_to("gone.yaml")
    os.mkfifo(tmp_path / "f.yaml")
    found = problems(tmp_path)
    assert [problem.split(": ")[0] for problem in found] == ["teams/b.txt", "teams/d", "teams/e.yaml", "teams/f.yaml"]


def test_an_empty_file_in_a_folder_is_an_error(tmp_path: pathlib.Path) -> None:
    (problem,) = problems(folder(tmp_path, a_yaml=A, b_yaml=""))
    assert problem.startswith("teams/b.yaml:1:1: the document is empty")


def test_the_problems_of_all_files_are_reported_at_once(tmp_path: pathlib.Path) -> None:
    found = problems(folder(tmp_path, a_yaml="fleets: {flt_a: []}", b_json="{", c_csv="driver,fleet\nx,a\n"))
    assert [problem.split(":")[0] for problem in found] == ["teams/a.yaml", "teams/b.json", "teams/c.csv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_or_folder_without_read_permission_is_an_error(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, a_yaml=A)
    (tmp_path / "a.yaml").chmod(0)
    assert "check its permissions" in problems(tmp_path)[0]
    tmp_path.chmod(0)
    try:
        assert "check its permissions" in problems(tmp_path)[0]
    finally:
        tmp_path.chmod(0o700)


def test_a_path_that_leads_through_a_file_is_an_error(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, a_yaml=A)
    assert "cannot be read" in problems(tmp_path / "a.yaml" / "b.yaml")[0]


def test_a_file_name_may_have_any_character_that_utf_8_can_encode(tmp_path: pathlib.Path) -> None:
    (tmp_path / "équipe ✓.yaml").write_text(A)
    assert [str(row.origin) for row in read(tmp_path).rows] == ["teams/équipe ✓.yaml:1:14"]


def test_a_file_name_that_is_not_utf_8_is_an_error(tmp_path: pathlib.Path) -> None:
    """It could not be printed, hashed, or written to the journal."""
    (tmp_path / os.fsdecode(b"\xe9.yaml")).write_text(A)
    (problem,) = problems(tmp_path)
    assert problem == "'teams/\\udce9.yaml': the file name is not UTF-8: rename the file"
    with pytest.raises(SourceError):
        peek(tmp_path)


class WrittenWhileRead(pathlib.PosixPath):
    """A file to which another process appends a line each time it is opened, `times` times."""

    times = 0

    def open(self, *arguments: Any, **options: Any) -> Any:
        """Open the file, and append to it through another handle."""
        opened = super().open(*arguments, **options)
        if self.times:
            type(self).times -= 1
            before = self.stat()
            with pathlib.Path(self).open("a") as other:
                other.write("# more\n")
            os.utime(self, ns=(before.st_atime_ns, before.st_mtime_ns))  # SFTP servers do so while they receive
        return opened


@pytest.fixture
def written_while_read(tmp_path: pathlib.Path) -> WrittenWhileRead:
    (tmp_path / "a.yaml").write_text(f"{A}\n")
    return WrittenWhileRead(tmp_path / "a.yaml")


def test_a_source_that_changes_during_both_attempts_is_an_error(written_while_read: WrittenWhileRead) -> None:
    """A reading that mixes two versions would be half of each."""
    WrittenWhileRead.times = 2
    with pytest.raises(SourceError) as caught:
        read(written_while_read, "a.yaml")
    assert caught.value.code == "source_changed"
    assert str(caught.value).startswith("a.yaml: the source changes while it is read")


def test_a_source_that_changes_once_is_read_again(written_while_read: WrittenWhileRead) -> None:
    WrittenWhileRead.times = 1
    expected = f"sha256:{hashlib.sha256(f'{A}{chr(10)}# more{chr(10)}'.encode()).hexdigest()}"
    assert read(written_while_read, "a.yaml").source.revision == expected


class ReplacedWhileOpened(pathlib.PosixPath):
    """A link that leads elsewhere while the file is opened, and back again afterwards."""

    def open(self, *arguments: Any, **options: Any) -> Any:
        """Open the other file."""
        return pathlib.Path(self).with_name("b.yaml").open(*arguments, **options)


def test_a_file_that_is_not_the_one_listed_is_not_read(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, a_yaml=A, b_yaml=A.replace("x@y", "z@y"))
    with pytest.raises(SourceError) as caught:
        read(ReplacedWhileOpened(tmp_path / "a.yaml"), "a.yaml")
    assert caught.value.code == "source_changed"


class RemovedWhileOpened(pathlib.PosixPath):
    """A file that another process removes before it is opened."""

    def open(self, *arguments: Any, **options: Any) -> Any:
        """Remove the file first."""
        self.unlink()
        return super().open(*arguments, **options)


def test_a_file_that_disappears_while_it_is_read_is_an_error(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, a_yaml=A)
    (problem,) = problems(RemovedWhileOpened(tmp_path / "a.yaml"), "a.yaml")
    assert problem.startswith("a.yaml: file not found")


def test_a_document_that_appears_while_a_folder_is_read_is_read_too(tmp_path: pathlib.Path) -> None:
    class Growing(pathlib.PosixPath):
        def open(self, *arguments: Any, **options: Any) -> Any:
            if not (tmp_path / "b.csv").exists():
                folder(tmp_path, b_csv=B)
            return super().open(*arguments, **options)

    folder(tmp_path, a_yaml=A)
    assert len(read(Growing(tmp_path)).rows) == 3


def selected(path: pathlib.Path, *, now: float = 0.0, **selection: Any) -> list[str]:
    """Return the names of the documents that are fetched at that time."""
    fetcher = file_source.FileFetcher(path, "teams", file_source.Selection(**selection), now=lambda: now)
    return [document.name for document in anyio.run(fetcher.fetch).documents]


class TestPatterns:
    def test_include_and_exclude_select_names_in_a_folder(self, tmp_path: pathlib.Path) -> None:
        folder(tmp_path, a_csv=B, b_csv=B, b_txt="", c_yaml=A)
        assert selected(tmp_path, include=["*.csv", "c*"]) == ["teams/a.csv", "teams/b.csv", "teams/c.yaml"]
        assert selected(tmp_path, include=["*.csv"], exclude=["a.*"]) == ["teams/b.csv"]
        assert selected(tmp_path, exclude=["?.txt"]) == ["teams/a.csv", "teams/b.csv", "teams/c.yaml"]

    def test_patterns_that_select_nothing_are_an_error(self, tmp_path: pathlib.Path) -> None:
        folder(tmp_path, a_csv=B)
        with pytest.raises(SourceError, match="no document: that include and exclude select") as caught:
            selected(tmp_path, include=["*.CSV"])
        assert caught.value.code == "source_empty"

    def test_patterns_for_a_single_file_are_an_error(self, tmp_path: pathlib.Path) -> None:
        path = folder(tmp_path, a_csv=B) / "a.csv"
        with pytest.raises(SourceError, match="select files in a folder"):
            selected(path, include=["*.csv"])

    def test_a_manifest_that_is_not_selected_is_still_read(self, tmp_path: pathlib.Path) -> None:
        folder(tmp_path, a_csv=B)
        (tmp_path / "a.csv.json").write_text('{"rows": 2}')
        assert selected(tmp_path, include=["*.csv"], manifest="{path}.json") == ["teams/a.csv"]


class TestSettling:
    def test_a_file_is_not_read_until_it_was_unchanged_for_a_while(self, tmp_path: pathlib.Path) -> None:
        """An upload that takes its time sets the time of the original: the time of the change itself counts."""
        path = folder(tmp_path, a_csv=B) / "a.csv"
        os.utime(path, (1, 1))
        changed = path.stat().st_ctime
        with pytest.raises(SourceError, match="settle_seconds = 60") as caught:
            selected(path, settle_seconds=60, now=changed + 59)
        assert caught.value.code == "source_changed"
        assert selected(path, settle_seconds=60, now=changed + 60.1) == ["teams"]

    def test_a_change_in_the_future_is_reported_as_such(self, tmp_path: pathlib.Path) -> None:
        """Waiting until it has settled would take as long as the clock was set back."""
        path = folder(tmp_path, a_csv=B) / "a.csv"
        changed = path.stat().st_ctime
        with pytest.raises(SourceError, match=r"change is 7200 seconds in the future: correct this machine's clock"):
            selected(path, settle_seconds=60, now=changed - 7200)
        with pytest.raises(SourceError, match="settle_seconds = 60"):
            selected(path, settle_seconds=60, now=changed - 299)

    def test_a_manifest_must_settle_too(self, tmp_path: pathlib.Path) -> None:
        path = folder(tmp_path, a_csv=B) / "a.csv"
        changed = path.stat().st_ctime
        manifest = tmp_path / "a.csv.json"
        while not manifest.exists() or manifest.stat().st_ctime < changed + 0.01:
            manifest.write_text('{"rows": 2}')
        with pytest.raises(SourceError, match="settle_seconds"):
            selected(path, settle_seconds=60, now=changed + 60.005, manifest="{path}.json")

    def test_peeking_says_that_it_is_being_written(self, tmp_path: pathlib.Path) -> None:
        path = folder(tmp_path, a_csv=B) / "a.csv"
        fetcher = file_source.FileFetcher(path, "teams", file_source.Selection(settle_seconds=60))
        with pytest.raises(SourceError) as caught:
            anyio.run(fetcher.peek)
        assert caught.value.code == "source_changed"


class TestPeek:
    def test_it_stays_the_same_while_nothing_changes(self, tmp_path: pathlib.Path) -> None:
        folder(tmp_path, a_yaml=A, b_csv=B)
        (tmp_path / ".a.yaml.swp").touch()
        before = peek(tmp_path)
        read(tmp_path)
        (tmp_path / ".a.yaml.swp").write_text("hidden files do not count")
        assert peek(tmp_path) == before

    def test_every_edit_changes_it_even_with_the_same_size_and_time(self, tmp_path: pathlib.Path) -> None:
        path = folder(tmp_path, a_yaml=A) / "a.yaml"
        long_ago = 1_000_000_000
        os.utime(path, (long_ago, long_ago))
        seen = {peek(path), peek(tmp_path, "a.yaml")}
        path.write_text(A.replace("x@y", "z@y"))
        seen.add(peek(path))
        os.utime(path, (long_ago, long_ago))
        seen.add(peek(path))
        assert len(seen) == 4

    def test_a_file_that_is_renamed_into_place_changes_it(self, tmp_path: pathlib.Path) -> None:
        """As editors and `mv` do; the new file may be older than the one that it replaces."""
        path = folder(tmp_path, a_yaml=A) / "a.yaml"
        (tmp_path / ".new").write_text(A)
        os.utime(tmp_path / ".new", (1, 1))
        before = peek(path)
        (tmp_path / ".new").replace(path)
        assert peek(path) != before

    def test_documents_that_are_added_renamed_or_removed_change_it(self, tmp_path: pathlib.Path) -> None:
        seen = [peek(folder(tmp_path, a_yaml=A))]
        folder(tmp_path, b_csv=B)
        seen.append(peek(tmp_path))
        (tmp_path / "b.csv").rename(tmp_path / "c.csv")
        seen.append(peek(tmp_path))
        (tmp_path / "a.yaml").unlink()
        seen.append(peek(tmp_path))
        assert len(set(seen)) == 4

    @pytest.mark.parametrize("source", ["a.yaml", "."])
    def test_a_new_version_of_a_config_map_changes_it(self, source: str, tmp_path: pathlib.Path) -> None:
        """Kubernetes swaps a link to a hidden folder; the link to the document stays."""
        (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
        seen = []
        for version, text in (("..1", A), ("..2", A), ("..3", A + "\n")):
            (tmp_path / version).mkdir()
            (tmp_path / version / "a.yaml").write_text(text)
            (tmp_path / "..data_tmp").symlink_to(version)
            (tmp_path / "..data_tmp").replace(tmp_path / "..data")
            seen.append(peek(tmp_path / source))
        assert len(set(seen)) == 3

    def test_a_work_tree_that_is_swapped_by_its_link_changes_it(self, tmp_path: pathlib.Path) -> None:
        """git-sync works so: `current` leads to one of several work trees."""
        seen = []
        for tree in ("one", "two"):
            (tmp_path / tree).mkdir()
            (tmp_path / tree / "a.yaml").write_text(A)
            (tmp_path / "next").symlink_to(tree)
            (tmp_path / "next").replace(tmp_path / "current")
            seen.append(peek(tmp_path / "current" / "a.yaml"))
        assert len(set(seen)) == 2

    def test_a_source_that_cannot_be_listed_is_an_error(self, tmp_path: pathlib.Path) -> None:
        os.mkfifo(tmp_path / "a.yaml")
        (tmp_path / "b.yaml").symlink_to("c.yaml")
        (tmp_path / "c.yaml").symlink_to("b.yaml")
        for path in (tmp_path, tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "none.yaml", pathlib.Path("\0")):
            with pytest.raises(SourceError):
                peek(path)
