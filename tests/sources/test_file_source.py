"""Files and folders: whole, or an error."""

import hashlib
import os
import pathlib
from typing import Any

import anyio
import pytest

from worker.core.model.desired import SourceReading, SourceRevision
from worker.core.model.errors import SourceError
from worker.core.model.ports import Source
from worker.sources import file_source

A = "fleets: {a: [x@y]}"
B = "driver,fleet\nz@y,a\nz@y,b\n"


def read(path: pathlib.Path, name: str = "teams") -> SourceReading:
    source: Source = file_source.FileSource(path, name)
    return anyio.run(source.read)


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
    assert read(path, "a.yaml").source == SourceRevision("file", "a.yaml", expected)


def test_a_folder_is_all_its_documents_in_order(tmp_path: pathlib.Path) -> None:
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


def test_hidden_files_are_left_alone(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, a_yaml=A)
    (tmp_path / ".a.yaml.swp").write_bytes(b"\0")
    assert len(read(tmp_path).rows) == 1


def test_a_file_or_folder_that_is_not_there_is_an_error(tmp_path: pathlib.Path) -> None:
    (problem,) = problems(tmp_path / "none.yaml", "none.yaml")
    assert problem == "none.yaml: there is no such file: correct the path, or begin with `fleet-sync export`"


def test_a_folder_without_documents_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".hidden.yaml").write_text(A)
    (problem,) = problems(tmp_path)
    assert "the folder holds no document" in problem


def test_whatever_in_a_folder_is_no_document_is_an_error(tmp_path: pathlib.Path) -> None:
    """What is passed over in silence is taken for absent later."""
    folder(tmp_path, a_yaml=A, b_txt=A, c_yaml="")
    (tmp_path / "d").mkdir()
    (tmp_path / "e.yaml").symlink_to("gone.yaml")
    os.mkfifo(tmp_path / "f.yaml")
    found = problems(tmp_path)
    assert [problem.split(": ")[0] for problem in found] == ["teams/b.txt", "teams/d", "teams/e.yaml", "teams/f.yaml"]


def test_an_empty_file_in_a_folder_is_an_error(tmp_path: pathlib.Path) -> None:
    (problem,) = problems(folder(tmp_path, a_yaml=A, b_yaml=""))
    assert problem.startswith("teams/b.yaml:1:1: the document is empty")


def test_the_problems_of_all_files_are_told_at_once(tmp_path: pathlib.Path) -> None:
    found = problems(folder(tmp_path, a_yaml="fleets: {flt_a: []}", b_json="{", c_csv="driver,fleet\nx,a\n"))
    assert [problem.split(":")[0] for problem in found] == ["teams/a.yaml", "teams/b.json", "teams/c.csv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_or_folder_that_may_not_be_read_is_an_error(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, a_yaml=A)
    (tmp_path / "a.yaml").chmod(0)
    assert "see to its permissions" in problems(tmp_path)[0]
    tmp_path.chmod(0)
    try:
        assert "see to its permissions" in problems(tmp_path)[0]
    finally:
        tmp_path.chmod(0o700)


def test_a_path_that_leads_through_a_file_is_an_error(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, a_yaml=A)
    assert "cannot be read" in problems(tmp_path / "a.yaml" / "b.yaml")[0]


class Restless(pathlib.PosixPath):
    """A file into which somebody writes whenever it is read, until the given times are over."""

    times = 0

    def open(self, *arguments: Any, **options: Any) -> Any:
        if self.times:
            type(self).times -= 1
            pathlib.Path(self).write_text(pathlib.Path(self).read_text() + "# more\n")
        return super().open(*arguments, **options)


@pytest.fixture
def restless(tmp_path: pathlib.Path) -> Restless:
    (tmp_path / "a.yaml").write_text(f"{A}\n")
    return Restless(tmp_path / "a.yaml")


def test_a_source_that_never_stands_still_is_an_error(restless: Restless) -> None:
    """A reading that mixes two generations would be half of each."""
    Restless.times = 99
    (problem,) = problems(restless, "a.yaml")
    assert problem.startswith("a.yaml: it changes while it is read")


def test_a_source_that_changes_once_is_read_as_it_is_then(restless: Restless) -> None:
    Restless.times = 1
    expected = f"sha256:{hashlib.sha256(f'{A}{chr(10)}# more{chr(10)}'.encode()).hexdigest()}"
    assert read(restless, "a.yaml").source.revision == expected
