"""Links lead to existing pages and headings, and every page can be read anywhere."""

import re

import pytest

from tests.docs import pages

COLUMNS = 100


@pytest.mark.parametrize("page", pages.every(), ids=lambda page: page.name)
def test_every_link_leads_to_a_page_and_a_heading_that_exist(page: pages.Page) -> None:
    for link in page.links():
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        if anchor:
            assert anchor in pages.Page(target, target.read_text(encoding="utf-8")).anchors(), link


@pytest.mark.parametrize("page", pages.every(), ids=lambda page: page.name)
def test_a_page_is_finished_and_names_no_place_of_one_machine(page: pages.Page) -> None:
    for pattern in (r"\bTODO\b", r"\bFIXME\b", r"\.\./sh[a]red", r"/h[o]me/", r"/r[o]ot/", r"/w[o]rk/"):
        assert not re.search(pattern, page.text), pattern


@pytest.mark.parametrize("page", pages.every(), ids=lambda page: page.name)
def test_prose_wraps_at_100_columns(page: pages.Page) -> None:
    """Tables and code may be wider."""
    lines = [line for line in page.prose().splitlines() if not line.startswith(("|", "    "))]
    assert [line for line in lines if len(line) > COLUMNS] == []


def test_every_command_that_a_page_names_exists() -> None:
    from worker.cli import main

    for page in pages.every():
        for line in re.findall(r"(?:`|^\$ |^    )fleet-sync((?: [^`\n]*)?)", page.text, re.MULTILINE):
            words = [word for word in line.split() if re.fullmatch(r"[a-z]+", word)]
            words = [word for word in words if word not in ("json", "warning", "acme")]
            assert not words or words[0] in main.COMMANDS, line
