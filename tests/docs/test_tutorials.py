"""docs/tutorials: each is played on a sandbox as written, with the files beside it."""

import pathlib
import re
import shutil

import pytest

from tests.docs import pages, sessions
from tests.support import command

FOLDER = pages.ROOT / "docs" / "tutorials"
NAMES = sorted(path.name for path in FOLDER.iterdir())
MOST_LINES = 110


@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_works_as_shown(name: str, sandbox: tuple[command.Running, str], tmp_path: pathlib.Path) -> None:
    found = re.search(r"127\.0\.0\.1:(\d+)/v1", sandbox[1])
    assert found
    clone = tmp_path / "clone"
    shutil.copytree(FOLDER, clone / "docs" / "tutorials")
    session = sessions.Session(clone, found[1])
    for block in pages.page(f"docs/tutorials/{name}/README.md").blocks("console"):
        session.play(block)


@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_shows_its_files_as_they_are_and_is_short(name: str) -> None:
    page = pages.page(f"docs/tutorials/{name}/README.md")
    assert [block.text for block in page.blocks("toml")] == [
        (FOLDER / name / "config/fleet-sync.toml").read_text("utf-8")
    ]
    for block in page.blocks("sql"):
        assert block.text in (FOLDER / name / "config/hr.sql").read_text("utf-8")
    tables = {path: path.read_text("utf-8") for path in (FOLDER / name).rglob("*.csv")}
    for row in page.rows():
        assert any(f"{';'.join(row)}\n" in text for text in tables.values())
    assert len(page.text.splitlines()) <= MOST_LINES


def test_the_documentation_begins_with_every_tutorial() -> None:
    first = pages.page("docs/README.md").text.partition("Then:")[0]
    assert sorted(re.findall(r"tutorials/([a-z-]+)/README.md", first)) == NAMES
