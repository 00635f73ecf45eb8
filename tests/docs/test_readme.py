"""The README is true and short: its commands are run as written, and their outputs compared."""

import pathlib
import re
import shutil

from tests.docs import pages, sessions
from tests.support import command
from worker.sandbox import app

README = pages.page("README.md")
MOST_WORDS = 1500


def test_the_first_account_the_hold_and_undo_work_as_shown(
    sandbox: tuple[command.Running, str], tmp_path: pathlib.Path
) -> None:
    _, said = sandbox
    found = re.search(r"127\.0\.0\.1:(\d+)/v1", said)
    assert found
    clone = tmp_path / "clone"
    # A developer may have followed the steps in this clone before and left a journal.
    shutil.copytree(pages.ROOT / "config", clone / "config", ignore=shutil.ignore_patterns("*.db*"))
    before = _contents(clone)
    session = sessions.Session(clone, found[1])
    demo, serve, *blocks = README.blocks("console", "diff")
    assert sessions.steps(demo)[0][0] == "make demo"
    [(line, shown)] = sessions.steps(serve)
    assert line == "fleet-sync sandbox"
    sessions.compare(line, said.replace(f":{found[1]}", f":{sessions.PORT}"), shown)
    for block in blocks:
        if block.language == "diff":
            session.edit(block, "config/membership.yaml")
        else:
            session.play(block)
    assert _contents(clone) == before, "the steps changed files in the clone"


def _contents(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_demo_prints_what_is_shown() -> None:
    [(line, shown)] = sessions.steps(README.blocks("console")[0])
    recipe = re.search(r"^demo:.*\n\t(.*)$", (pages.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line == "make demo"
    assert recipe and recipe[1] == "$(BIN)/fleet-sync demo"
    ended = command.run("demo")
    assert (ended.code, ended.stderr) == (0, "")
    sessions.compare(line, ended.stdout, shown)


def test_every_make_target_that_a_page_names_exists() -> None:
    makefile = (pages.ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in pages.every():
        named = re.findall(r"(?:`|^    |\$ )make ([a-z][a-z-]*)", page.text, re.MULTILINE)
        assert set(named) <= targets, page.path


def test_the_key_of_the_sandbox_is_the_one_shown() -> None:
    assert f"export CHARGE_API_KEY={app.KEY}" in README.text


def test_the_readme_is_short() -> None:
    assert len(README.text.split()) <= MOST_WORDS
