"""The house rules that no linter knows: how docstrings begin, how imports are named, how long code may be.

Each test is one rule and names every place that breaks it.
"""

import ast
import functools
import pathlib
import re
from collections.abc import Iterator

from tests.docs import pages

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 40
MODULES = sorted(path for part in ("worker", "benchmarks", "tests") for path in (pages.ROOT / part).rglob("*.py"))
PRODUCT = [path for path in MODULES if "tests" not in path.relative_to(pages.ROOT).parts]
_RENAMED = re.compile(r"\bas\s[\s\\]*\w+_\b")
NOT_BEGINNINGS = {"Give", "Tell", "See", "Who", "Whom"}


def test_docstrings_say_what_is_done_with_plain_verbs() -> None:
    """Write `Return the drivers of a fleet.`, not `Give whom a fleet has.`."""
    found = [
        f"{_shown(path)}:{line}: {docstring.splitlines()[0]}"
        for path in MODULES
        for line, docstring in _docstrings(path)
        if docstring.split()[0].strip(",.:;") in NOT_BEGINNINGS
    ]
    assert found == []


def test_every_neighbour_that_a_module_names_exists() -> None:
    """A docstring that leads to a module of an earlier version misleads the reader."""
    found = [
        f"{_shown(path)}: {name}"
        for path in PRODUCT
        for name in _neighbours(ast.get_docstring(pages.tree(path)) or "")
        if not _leads_somewhere(name, path)
    ]
    assert found == []


def _neighbours(docstring: str) -> list[str]:
    """Return the dotted names behind `Neighbours:`, without paths and commands."""
    return re.findall(r"`([\w.]+)`", docstring.partition("Neighbours:")[2])


def _leads_somewhere(name: str, path: pathlib.Path) -> bool:
    """Return whether a name is a module or package, perhaps with names in it, or a name in the module itself."""
    parts = tuple(name.removeprefix("worker.").split("."))
    modules = _modules()
    in_modules = (
        _defined(modules[dotted]).issuperset(parts[count:])
        for count in range(1, len(parts) + 1)
        for dotted in modules
        if dotted[-count:] == parts[:count]
    )
    is_package = any(dotted[:-1][-len(parts) :] == parts for dotted in modules)
    return is_package or any(in_modules) or _defined(path) >= {*parts}


@functools.cache
def _modules() -> dict[tuple[str, ...], pathlib.Path]:
    """Return all modules by the parts of their names."""
    return {path.relative_to(pages.ROOT).with_suffix("").parts: path for path in MODULES}


@functools.cache
def _defined(path: pathlib.Path) -> frozenset[str]:
    """Return the names that a module defines or assigns, at any depth."""
    names: set[str] = set()
    for node in pages.nodes(path):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(node.name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
            case _:
                pass
    return frozenset(names)


def test_no_import_is_renamed_with_an_underscore() -> None:
    """A module whose name collides with a value wants a better name for one of the two."""
    found = [
        f"{_shown(path)}:{node.lineno}: {alias.asname}"
        for path in MODULES
        if _RENAMED.search(path.read_text(encoding="utf-8"))  # most have none, and parsing them all takes long
        for node in pages.nodes(path)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname and alias.asname.endswith("_")
    ]
    assert found == []


def test_asking_what_is_at_a_path_expects_that_this_may_not_be_known() -> None:
    """`Path.exists` and its kin raise where a folder cannot be searched: `main` would blame the output for that."""
    found = [
        f"{_shown(path)}:{node.lineno}: {node.func.attr}"
        for path in PRODUCT
        if "benchmarks" not in path.parts
        for node in _outside_try(pages.tree(path))
        if isinstance(node, ast.Call)
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"exists", "is_dir", "is_file", "samefile"}
    ]
    assert found == []


def test_no_function_is_longer_than_a_screen() -> None:
    found = [
        f"{_shown(path)}:{node.lineno}: {node.name}"
        for path in PRODUCT
        for node in pages.nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]
    assert found == []


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {_shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def _shown(path: pathlib.Path) -> str:
    return path.relative_to(pages.ROOT).as_posix()


def _outside_try(node: ast.AST) -> Iterator[ast.AST]:
    """Return the nodes below this one whose errors no `except` of the same function can catch."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.Try) and node.handlers and child in node.body):
            yield from _outside_try(child)


def _docstrings(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    for node in pages.nodes(path):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, docstring
