"""How the format of a document is found, and what proves that it was read to its end."""

import hashlib
import json

import pytest

from worker.sources import completeness, document_reader, positions

CSV = b"driver,fleet\nx@y,a\n"
JSON = b'{"fleets": {"a": ["x@y", "z@y"]}}'
Options = document_reader.DocumentOptions


@pytest.mark.parametrize(
    ("suffix", "media_type", "data", "count"),
    [
        (".csv", "", CSV, 1),
        (".csv", "application/json", CSV, 1),
        ("", "text/csv", CSV, 1),
        (".export", "TEXT/CSV; charset=utf-8", CSV, 1),
        ("", "application/json", JSON, 2),
        ("", "application/vnd.acme.people+json; version=2", JSON, 2),
        (".json", "text/csv", JSON, 2),
        (".yml", "", b"fleets: {a: [x@y]}", 1),
    ],
)
def test_the_name_decides_the_format_and_then_the_media_type(
    suffix: str, media_type: str, data: bytes, count: int
) -> None:
    contents = document_reader.read("a", suffix, data, Options(), media_type=media_type)
    assert (contents.problems, contents.count) == ((), count)


def test_the_settings_decide_before_either() -> None:
    contents = document_reader.read("a", ".csv", JSON, Options(format="json"), media_type="text/csv")
    assert (contents.problems, contents.count) == ((), 2)


@pytest.mark.parametrize("media_type", ["", "text/html", "application/octet-stream", "json"])
def test_an_unknown_format_is_a_problem_of_the_document(media_type: str) -> None:
    (problem,) = document_reader.read("a", ".txt", CSV, Options(), media_type=media_type).problems
    assert "which format this is: set the source's format" in str(problem)


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("suffix", [".csv", ".yaml", ".json", ".toml"])
def test_a_document_of_nothing_but_spaces_is_empty(suffix: str, data: bytes) -> None:
    contents = document_reader.read("a", suffix, data, Options())
    assert (contents.code, [str(each) for each in contents.problems]) == ("source_empty", [f"a:1:1: {positions.EMPTY}"])


@pytest.mark.parametrize("suffix", [".csv", ".yaml", ".json", ".toml", ".xlsx"])
def test_a_pointer_of_git_lfs_is_named_as_such(suffix: str) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
    (problem,) = document_reader.read("a", suffix, pointer.encode(), Options()).problems
    assert "a Git LFS pointer, not the document" in str(problem)


def _manifest(**says: object) -> bytes:
    return json.dumps(says).encode()


@pytest.mark.parametrize(
    ("suffix", "data", "checks", "manifest", "proof"),
    [
        (".csv", CSV, None, None, "none"),
        (".csv", CSV, completeness.Completeness(), None, "none"),
        (".json", JSON, None, None, "syntax"),
        (".csv", CSV + b"#END 1\n", completeness.Completeness(trailer=r"#END (?P<rows>\d+)"), None, "trailer"),
        (".csv", CSV, None, _manifest(rows=1), "manifest"),
        (".json", JSON, None, _manifest(rows=2), "manifest"),
    ],
)
def test_the_strongest_proof_counts(
    suffix: str, data: bytes, checks: completeness.Completeness | None, manifest: bytes | None, proof: str
) -> None:
    contents = document_reader.read("a", suffix, data, Options(checks=checks), manifest=manifest)
    assert (contents.problems, contents.proof) == ((), proof)


def test_a_number_of_rows_needs_a_last_line_that_ends_but_a_hash_or_json_does_not() -> None:
    cut = CSV.rstrip()
    (problem,) = document_reader.read("a", ".csv", cut, Options(), manifest=_manifest(rows=1)).problems
    assert "no line break at its end" in str(problem)
    digest = hashlib.sha256(cut).hexdigest()
    assert document_reader.read("a", ".csv", cut, Options(), manifest=_manifest(rows=1, sha256=digest)).problems == ()
    assert document_reader.read("a", ".json", JSON, Options(), manifest=_manifest(rows=2)).problems == ()
    assert document_reader.read("a", ".csv", cut, Options()).problems == ()
