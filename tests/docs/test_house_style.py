"""The house rules that no linter knows: how docstrings begin, how imports are named, how long code may be."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

from tests.docs import pages

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 40
MODULES = sorted(path for part in ("worker", "benchmarks", "tests") for path in (pages.ROOT / part).rglob("*.py"))
PRODUCT = [path for path in MODULES if "tests" not in path.relative_to(pages.ROOT).parts]
NOT_BEGINNINGS = {"Give", "Tell", "See", "Who", "Whom"}


def _shown(path: pathlib.Path) -> str:
    return path.relative_to(pages.ROOT).as_posix()


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, docstring


@pytest.mark.parametrize("path", PRODUCT, ids=_shown)
def test_docstrings_say_what_is_done_with_plain_verbs(path: pathlib.Path) -> None:
    """Write `Return the drivers of a fleet.`, not `Give whom a fleet has.`."""
    found = [
        f"{_shown(path)}:{line}: {docstring.splitlines()[0]}"
        for line, docstring in _docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if docstring.split()[0].strip(",.:;") in NOT_BEGINNINGS
    ]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=_shown)
def test_no_import_is_renamed_with_an_underscore(path: pathlib.Path) -> None:
    """A module whose name collides with a value wants a better name for one of the two."""
    names = [
        alias.asname
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname and alias.asname.endswith("_")
    ]
    assert names == []


@pytest.mark.parametrize("path", PRODUCT, ids=_shown)
def test_no_function_is_longer_than_a_screen(path: pathlib.Path) -> None:
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


@pytest.mark.parametrize("path", PRODUCT, ids=_shown)
def test_no_module_is_longer_than_a_reader_can_hold(path: pathlib.Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
