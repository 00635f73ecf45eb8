"""Proof that a source is complete: manifest, trailer, number of rows, age."""

import datetime
import hashlib
import json
import os
import pathlib
from typing import Any

import anyio
import pytest

from tests.support import file_sources
from worker.core.model.desired import SourceReading
from worker.core.model.errors import SourceError
from worker.sources import completeness, document_reader, document_source, fetching

TEXT = "driver,fleet\nx@y,a\nz@y,a\n"
DIGEST = hashlib.sha256(TEXT.encode()).hexdigest()
NOON = 1_800_000_000.0


def source(path: pathlib.Path, **checks: Any) -> document_source.DocumentSource:
    options = document_reader.DocumentOptions(checks=completeness.Completeness(**checks))
    return file_sources.of(path, path.name, options, now=lambda: NOON)


def read(path: pathlib.Path, **checks: Any) -> SourceReading:
    return anyio.run(source(path, **checks).read)


def refused(path: pathlib.Path, code: str = "source_incomplete", **checks: Any) -> str:
    with pytest.raises(SourceError) as caught:
        read(path, **checks)
    assert caught.value.code == code
    return str(caught.value)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "a.csv"
    path.write_text(TEXT)
    os.utime(path, (NOON - 3600, NOON - 3600))
    return path


class TestManifest:
    @pytest.mark.parametrize(
        "says", [{"rows": 2}, {"sha256": DIGEST}, {"rows": 2, "sha256": DIGEST.upper(), "job": "nightly"}]
    )
    def test_a_document_that_agrees_with_its_manifest_is_read(self, says: Any, path: pathlib.Path) -> None:
        pathlib.Path(f"{path}.json").write_text(json.dumps(says))
        assert len(read(path, manifest="{path}.json").rows) == 2

    @pytest.mark.parametrize(
        ("says", "problem"),
        [
            ('{"rows": 3}', "2 rows, but the manifest says 3"),
            ('{"sha256": "00"}', "does not have the sha256 of its manifest"),
            (f'{{"rows": 3, "sha256": "{DIGEST}"}}', "2 rows, but the manifest says 3"),
            ('{"rows": "2"}', "the manifest is not JSON like"),
            ('{"rows": true}', "the manifest is not JSON like"),
            ('{"sha256": 1}', "the manifest is not JSON like"),
            ('{"job": "nightly"}', "the manifest is not JSON like"),
            ('{"rows": 2', "the manifest is not JSON like"),
            ("[2]", "the manifest is not JSON like"),
            ("[" * 100_000, "the manifest is not JSON like"),
        ],
    )
    def test_any_other_manifest_is_an_error(self, says: str, problem: str, path: pathlib.Path) -> None:
        path.with_name("totals").write_text(says)
        assert problem in refused(path, manifest="totals")

    def test_a_missing_manifest_is_an_error(self, path: pathlib.Path) -> None:
        assert "its manifest a.csv.json cannot be read" in refused(path, manifest="{path}.json")

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
    def test_a_manifest_that_is_no_file_is_an_error_and_blocks_nothing(self, make: Any, path: pathlib.Path) -> None:
        make(f"{path}.json")
        assert "its manifest a.csv.json is not a regular file" in refused(
            path, "source_invalid", manifest="{path}.json"
        )

    def test_rows_alone_do_not_prove_the_last_row(self, path: pathlib.Path) -> None:
        path.write_text(TEXT.removesuffix("\n"))
        path.with_name("totals").write_text('{"rows": 2}')
        assert "the last line has no line break" in refused(path, manifest="totals")

    def test_a_folder_of_nothing_but_a_manifest_is_empty(self, path: pathlib.Path) -> None:
        (path.parent / "totals.json").write_text('{"rows": 0}')
        path.unlink()
        assert "no document" in refused(path.parent, "source_empty", manifest="totals.json", min_rows=0)

    def test_in_a_folder_manifests_are_not_documents(self, path: pathlib.Path) -> None:
        pathlib.Path(f"{path}.json").write_text('{"rows": 2}')
        assert len(read(path.parent, manifest="{path}.json").rows) == 2

    def test_a_relative_path_makes_no_difference(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The settings file may be named by a relative path, as in `--config config/fleet-sync.toml`."""
        monkeypatch.chdir(path.parent.parent)
        pathlib.Path(f"{path}.json").write_text('{"rows": 2}')
        folder = pathlib.Path(path.parent.name)
        assert len(read(folder, manifest="{path}.json").rows) == 2
        assert len(read(folder / "a.csv", manifest="{path}.json").rows) == 2
        path.with_name("totals").write_text('{"rows": 2}')
        assert len(read(folder / "a.csv", manifest="totals").rows) == 2

    def test_a_changed_manifest_changes_the_revision_of_a_peek(self, path: pathlib.Path) -> None:
        manifest = pathlib.Path(f"{path}.json")
        manifest.write_text('{"rows": 3}')
        looking = source(path, manifest="{path}.json")
        before = anyio.run(looking.peek)
        manifest.write_text('{"rows": 2}')
        assert anyio.run(looking.peek) != before

    def test_rows_of_a_json_document_are_counted_too(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "a.json"
        path.write_text('{"fleets": {"a": ["x@y", "z@y"]}}')
        (tmp_path / "totals").write_text('{"rows": 2}')
        assert len(read(path, manifest="totals").rows) == 2
        (tmp_path / "totals").write_text('{"rows": 1}')
        refused(path, manifest="totals")


class TestTrailer:
    @pytest.mark.parametrize("last", ["#END 2", "#END 2\n", "#END 2\r\n\r\n"])
    def test_a_document_with_its_trailer_is_read_without_it(self, last: str, path: pathlib.Path) -> None:
        path.write_text(TEXT + last)
        assert len(read(path, trailer=r"^#END (?P<rows>\d+)$").rows) == 2

    def test_a_trailer_need_not_have_a_number(self, path: pathlib.Path) -> None:
        path.write_text(TEXT + "EOF\n")
        assert len(read(path, trailer="EOF").rows) == 2

    @pytest.mark.parametrize(
        ("last", "problem"),
        [
            ("", "the last line is not the trailer"),
            ("#EN", "the last line is not the trailer"),
            ("#END 2 of", "the last line is not the trailer"),
            ("#END 3\n", "2 rows, but the trailer says 3"),
            ("#END \n", "the trailer's group `rows` is not a number"),
        ],
    )
    def test_any_other_last_line_is_an_error(self, last: str, problem: str, path: pathlib.Path) -> None:
        path.write_text(TEXT + last)
        assert problem in refused(path, trailer=r"#END (?P<rows>\d*)")


class TestRows:
    def test_fewer_rows_than_the_minimum_are_an_error(self, path: pathlib.Path) -> None:
        assert len(read(path, min_rows=2).rows) == 2
        assert refused(path, min_rows=3) == "a.csv: the source has 2 rows, fewer than min_rows = 3"

    def test_the_rows_of_all_documents_count(self, path: pathlib.Path) -> None:
        path.with_name("b.csv").write_text(TEXT)
        assert len(read(path.parent, min_rows=4).rows) == 4


class TestAge:
    def test_a_document_that_is_too_old_is_an_error(self, path: pathlib.Path) -> None:
        assert len(read(path, max_age_hours=1).rows) == 2
        found = refused(path, "source_stale", max_age_hours=0.5)
        assert found == "a.csv: the file is 1.0 hours old, older than max_age_hours = 0.5"

    @pytest.mark.parametrize("ahead", [0, 299])
    def test_clocks_may_be_a_little_apart(self, ahead: float, path: pathlib.Path) -> None:
        os.utime(path, (NOON + ahead, NOON + ahead))
        assert len(read(path, max_age_hours=1).rows) == 2

    def test_a_document_from_the_future_has_no_age(self, path: pathlib.Path) -> None:
        """It would be young enough forever, whatever the wrong clock was that wrote it."""
        os.utime(path, (NOON + 7200, NOON + 7200))
        assert len(read(path).rows) == 2
        found = refused(path, "source_stale", max_age_hours=1)
        assert "a.csv: its last change is 2.0 hours in the future, so max_age_hours cannot be checked" in found

    def test_every_document_of_a_folder_counts(self, path: pathlib.Path) -> None:
        path.with_name("b.csv").write_text(TEXT)
        os.utime(path.with_name("b.csv"), (NOON, NOON))
        assert "teams" not in refused(path.parent, "source_stale", max_age_hours=0.5)


class TestCodes:
    @pytest.mark.integration
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("", "source_empty"),
            ("driver,fleet\n", "source_empty"),
            ("driver,fleet\nnone,a\n", "source_invalid"),
            ("[" * (64 * 1024 * 1024 + 1), "source_too_large"),
        ],
    )
    def test_the_code_says_what_is_wrong_with_a_document(self, text: str, code: str, path: pathlib.Path) -> None:
        path.write_text(text)
        refused(path, code)

    @pytest.mark.parametrize("text", ["# only a comment\n", "fleets: {}\n", "fleets:\n"])
    def test_a_document_without_fleets_is_empty(self, text: str, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a.yaml").write_text(text)
        refused(tmp_path / "a.yaml", "source_empty")

    def test_a_missing_file_is_unreachable(self, tmp_path: pathlib.Path) -> None:
        refused(tmp_path / "none.csv", "source_unreachable")

    def test_documents_with_different_problems_are_invalid(self, path: pathlib.Path) -> None:
        path.write_text("")
        path.with_name("b.csv").write_text("driver,fleet\nnone,a\n")
        refused(path.parent, "source_invalid")


class TestProof:
    """What shows that nothing is missing, from the weakest to the strongest."""

    def test_a_file_alone_proves_nothing(self, path: pathlib.Path) -> None:
        assert read(path).source.proof == "none"
        assert read(path, min_rows=1, max_age_hours=2).source.proof == "none"

    def test_a_number_of_rows_is_a_weak_proof(self, path: pathlib.Path) -> None:
        assert read(path, min_rows=2).source.proof == "min_rows"

    def test_a_trailer_and_a_manifest_are_proofs(self, path: pathlib.Path) -> None:
        path.with_name("a.csv.json").write_text(json.dumps({"rows": 2}))
        assert read(path, manifest="{path}.json", min_rows=2).source.proof == "manifest"
        path.write_text(TEXT + "#END 2\n")
        assert read(path, trailer=r"#END (?P<rows>\d+)", min_rows=2).source.proof == "trailer"

    @pytest.mark.parametrize(
        ("name", "text", "proof"),
        [
            ("a.json", '{"fleets": {"a": ["x@y"]}}', "syntax"),
            ("a.yaml", "fleets: {a: [x@y]}", "none"),
            ("a.toml", 'fleets.a = ["x@y"]', "none"),
        ],
    )
    def test_only_a_format_with_an_end_proves_itself(
        self, name: str, text: str, proof: str, tmp_path: pathlib.Path
    ) -> None:
        (tmp_path / name).write_text(text)
        assert read(tmp_path / name).source.proof == proof

    def test_of_several_documents_the_weakest_proof_counts(self, tmp_path: pathlib.Path) -> None:
        for name in ("a.json", "b.json"):
            (tmp_path / name).write_text('{"fleets": {"a": ["x@y"]}}')
        assert read(tmp_path).source.proof == "syntax"
        (tmp_path / "c.csv").write_text(TEXT)
        assert read(tmp_path).source.proof == "none"
        assert read(tmp_path, min_rows=4).source.proof == "min_rows"

    def test_what_the_transfer_proves_counts_where_a_document_proves_nothing(self) -> None:
        assert completeness.weakest(["none"], transfer="length", min_rows=9) == "length"
        assert completeness.weakest(["syntax"], transfer="length", min_rows=1) == "syntax"
        assert completeness.weakest(["syntax", "none"], transfer="length", min_rows=1) == "length"

    def test_rows_are_counted_and_the_oldest_document_gives_the_age(self, path: pathlib.Path) -> None:
        assert read(path).source.rows == 2
        later = path.with_name("b.csv")
        later.write_text(TEXT)
        os.utime(later, (NOON, NOON))
        source = read(path.parent).source
        assert (source.rows, source.modified) == (4, datetime.datetime.fromtimestamp(NOON - 3600, datetime.UTC))

    @pytest.mark.parametrize(("modified", "expected"), [((1.0, None), None), ((1e20,), None), ((), None)])
    def test_an_age_that_is_not_known_of_every_document_is_not_known(
        self, modified: tuple[float | None, ...], expected: None
    ) -> None:
        documents = tuple(
            fetching.Document(f"{n}.csv", TEXT.encode(), ".csv", modified=at) for n, at in enumerate(modified)
        )

        class Fetcher:
            async def fetch(self) -> fetching.Fetched:
                return fetching.Fetched(documents, proof="length")

            async def peek(self) -> str | None:
                return None

        reading = anyio.run(document_source.DocumentSource("double", "hr", Fetcher()).read)
        assert reading.source.modified is expected
