"""docs/architecture.md names every module and behaviour, where it is, and nothing that is not there."""

import ast
import datetime
import pathlib
import re
from collections.abc import Iterator

import pytest

from tests.docs import pages
from worker.cli import main

_PATH = re.compile(r"`?((?:\.ci|benchmarks|config|docs|requirements|tests|worker)/[\w./-]*)`?")


@pytest.mark.parametrize("page", pages.every(), ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: pages.Page) -> None:
    named = {path.rstrip(".") for path in _PATH.findall(page.prose()) if "<" not in path}
    missing = [path for path in named if not (pages.ROOT / path).exists() and not (page.path.parent / path).exists()]
    assert missing == []


def test_every_folder_and_module_of_worker_has_its_row() -> None:
    told = set(pages.page("docs/architecture.md").section("## The house").codes())
    folders = {
        path.parent for pattern in ("*", "core/*") for path in (pages.ROOT / "worker").glob(f"{pattern}/__init__.py")
    }
    modules = {path for path in (pages.ROOT / "worker").glob("*.py") if path.name != "__init__.py"}
    assert told == {f"{path.relative_to(pages.ROOT)}{'/' if path in folders else ''}" for path in folders | modules}


def test_every_module_is_named() -> None:
    """By its path; by its name in the row or docstring of its package; or as a command."""
    page = pages.page("docs/architecture.md")
    rows = {row[0].strip("`"): row[1] for row in page.section("### The other modules").rows()}
    unnamed = []
    for path in sorted((pages.ROOT / "worker").rglob("*.py")):
        package = path.parent.relative_to(pages.ROOT)
        if path.name == "__init__.py" or path.parent.name == "versions":
            continue
        beside = rows.get(f"{package}/", "")
        docstring = (path.parent / "__init__.py").read_text(encoding="utf-8")
        command = package.name == "cli" and path.stem in main.COMMANDS
        if not (f"`{package}/{path.name}`" in page.text or f"`{path.stem}`" in beside + docstring or command):
            unnamed.append(f"{package}/{path.name}")
    assert unnamed == []


def test_every_module_named_in_a_row_exists() -> None:
    for package, told in pages.page("docs/architecture.md").section("### The other modules").rows():
        for name in re.findall(r"`([^`]+)`", told):
            assert (pages.ROOT / package.strip("`") / f"{name}.py").exists(), (package, name)


def test_ten_questions_are_answered_by_the_names_of_files() -> None:
    rows = list(pages.page("docs/architecture.md").section("## Ten questions of a newcomer").rows())
    assert len(rows) == 10
    for question, files, _ in rows:
        named = re.findall(r"`(worker/[\w/]+\.py)`", files)
        assert named and all((pages.ROOT / name).exists() for name in named), question


def test_every_behaviour_is_decided_where_its_row_says_and_has_tests() -> None:
    rows = list(pages.page("docs/architecture.md").section("## Where a behaviour lives").rows())
    behaviours = [row for row in rows if len(row) == 3]
    assert len(behaviours) > 30
    everywhere = set(_everywhere())
    for behaviour, where, agreeing in behaviours:
        assert re.search(r"`worker/[\w/]+\.py`", where), behaviour
        assert re.search(r"`tests/[\w/]+/test_\w+\.py`", agreeing), behaviour
        for place in re.finditer(r"`(worker/[\w/]+\.py)`((?: `[\w.]+`(?:, `[\w.]+`)*)?)", f"{where} | {agreeing}"):
            defined = set(_defined(pages.tree(pages.ROOT / place[1])))
            assert set(re.findall(r"`([^`]+)`", place[2])) <= defined, (behaviour, place[0])
        named = {name for name in re.findall(r"`(\w+\.\w+)`", agreeing) if not name.endswith(".md")}
        assert named <= everywhere, behaviour


def _everywhere() -> Iterator[str]:
    """Yield what any module defines, as its neighbours call it: `module.name`, `Class.name`."""
    for path in (pages.ROOT / "worker").rglob("*.py"):
        for name in _defined(pages.tree(path)):
            yield from (name, f"{path.stem}.{name}")


def _defined(module: ast.Module) -> Iterator[str]:
    """Yield what a module or class defines: functions, classes, constants."""
    for node in module.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
                yield from (f"{name}.{each}" for each in _defined(ast.Module(node.body, [])))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case _:
                pass


def test_the_layers_shown_are_those_that_import_linter_checks() -> None:
    pyproject = (pages.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r"^layers = \[\n(.*?)^\]", pyproject, re.MULTILINE | re.DOTALL)
    assert layers
    shown = " > ".join(re.findall(r'"([^"]+)"', layers[1]))
    assert f"    {shown}\n" in pages.page("docs/architecture.md").text


@pytest.mark.parametrize(
    ("pattern", "page", "modules"),
    [
        (
            r"^import httpx$",
            "docs/decisions/connection-pool.md",
            [
                "worker/charge/connection.py",
                "worker/charge/http11.py",
                "worker/charge/transport.py",
                "worker/notifications/webhook.py",
                "worker/sources/http_body.py",
                "worker/sources/http_source.py",
            ],
        ),
        (
            r"except Exception\b",
            "CONTRIBUTING.md",
            [
                "worker/service/account_runner.py",
                "worker/service/account_service.py",
                "worker/service/cluster_run.py",
                "worker/service/job_notifications.py",
                "worker/service/scheduler.py",
            ],
        ),
    ],
)
def test_only_the_modules_that_a_page_names_do_this(pattern: str, page: str, modules: list[str]) -> None:
    found = [
        str(path.relative_to(pages.ROOT))
        for path in sorted((pages.ROOT / "worker").rglob("*.py"))
        if re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert found == modules
    for module in modules:
        assert f"`{module}`" in pages.page(page).text


def _decisions() -> list[pathlib.Path]:
    return sorted(path for path in (pages.ROOT / "docs" / "decisions").glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("path", _decisions(), ids=lambda path: path.stem)
def test_every_decision_has_its_three_parts(path: pathlib.Path) -> None:
    text = path.read_text(encoding="utf-8")
    for part in (r"\*\*Context\.\*\*", r"\*\*Decision[:.]", r"\*\*What it costs\.\*\*"):
        assert re.search(part, text), part


def test_the_index_numbers_every_decision_and_gives_its_status_and_date() -> None:
    index = pages.page("docs/decisions/README.md")
    rows = list(index.rows())
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert sorted(index.links()) == [path.name for path in _decisions()]
    for number, _, status, date in rows:
        assert re.fullmatch(r"accepted|replaced by \d+", status), number
        assert datetime.date.fromisoformat(date).isoformat() == date, number
