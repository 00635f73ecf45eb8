"""docs/architecture.md and docs/charge-api.md name what is there, and all of it."""

import re

import pytest

from tests.docs import pages

_PATH = re.compile(r"`?((?:\.ci|benchmarks|config|docs|requirements|tests|worker)/[\w./-]*)`?")


@pytest.mark.parametrize("page", pages.every(), ids=lambda page: page.path.name)
def test_every_path_that_a_page_names_exists(page: pages.Page) -> None:
    named = {path.rstrip(".") for path in _PATH.findall(page.prose()) if "<" not in path}
    missing = [path for path in named if not (pages.ROOT / path).exists() and not (page.path.parent / path).exists()]
    assert missing == []


def test_every_folder_and_module_of_worker_has_its_row() -> None:
    told = set(pages.page("docs/architecture.md").section("## The house").codes())
    there = {
        f"worker/{path.name}{'/' if path.is_dir() else ''}"
        for path in (pages.ROOT / "worker").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    }
    assert told == there - {"worker/__init__.py"}


def test_the_layers_are_those_that_are_checked() -> None:
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
            ["worker/charge/http.py", "worker/notices/webhook.py"],
        ),
        (r"except Exception\b", "CONTRIBUTING.md", ["worker/service/loop.py", "worker/service/outside.py"]),
    ],
)
def test_what_a_page_says_that_only_these_modules_do_no_other_does(pattern: str, page: str, modules: list[str]) -> None:
    found = [
        str(path.relative_to(pages.ROOT))
        for path in sorted((pages.ROOT / "worker").rglob("*.py"))
        if re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert found == modules
    for module in modules:
        assert f"`{module}`" in pages.page(page).text


def test_every_decision_has_its_three_parts() -> None:
    decisions = sorted((pages.ROOT / "docs" / "decisions").glob("*.md"))
    assert decisions
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        for part in (r"\*\*Context\.\*\*", r"\*\*Decision[:.]", r"\*\*What it costs\.\*\*"):
            assert re.search(part, text), (path.name, part)
