"""Links lead somewhere, and pages are fit to be read anywhere."""

import re

import pytest

from tests.docs import pages


@pytest.mark.parametrize("page", pages.every(), ids=lambda page: page.path.name)
def test_every_link_leads_to_a_page_and_a_heading_that_exist(page: pages.Page) -> None:
    for link in page.links():
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        if anchor:
            assert anchor in pages.Page(target, target.read_text(encoding="utf-8")).anchors(), link


@pytest.mark.parametrize("page", pages.every(), ids=lambda page: page.path.name)
def test_a_page_stands_alone_and_is_finished(page: pages.Page) -> None:
    for pattern in (r"\bTODO\b", r"\bFIXME\b", r"\.\./sh[a]red", r"/h[o]me/", r"/r[o]ot/", r"/w[o]rk/"):
        assert not re.search(pattern, page.text), pattern


def test_what_comes_later_is_not_documented_as_there() -> None:
    """A command that a page names is one that exists."""
    from worker.cli import main

    for page in pages.every():
        for line in re.findall(r"(?:`|^\$ |^    )fleet-sync((?: [^`\n]*)?)", page.text, re.MULTILINE):
            words = [word for word in line.split() if re.fullmatch(r"[a-z]+", word)]
            words = [word for word in words if word not in ("json", "warning")]
            assert not words or words[0] in main.COMMANDS, line
