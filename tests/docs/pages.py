"""Reads our Markdown pages: fenced blocks, tables, headings, links.

Invariant: a page is read as it stands; nothing is skipped that a reader would see. Neighbours: every test of this
folder asks for its pages here.
"""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, and its lines."""

    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Give the lines."""
        return self.text.splitlines()


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One Markdown file."""

    path: pathlib.Path
    text: str

    @property
    def name(self) -> str:
        """Return the path within the repository."""
        return str(self.path.relative_to(ROOT))

    def blocks(self, *languages: str) -> list[Block]:
        """Give the fenced blocks of these languages, in order."""
        found = (Block(language, text) for language, text in _FENCE.findall(self.text))
        return [block for block in found if not languages or block.language in languages]

    def section(self, heading: str) -> "Page":
        """Give what stands under a heading, up to the next of the same level."""
        level, _, _ = heading.partition(" ")
        start = self.text.index(f"\n{heading}\n") + len(heading) + 2
        end = self.text.find(f"\n{level} ", start)
        return Page(self.path, self.text[start : end if end >= 0 else None])

    def rows(self) -> Iterator[list[str]]:
        """Give the cells of every row of every table, without heads and rules."""
        lines = self.prose().splitlines()
        for before, line in itertools.pairwise(lines):
            if line.startswith("| ") and before.startswith("| ") and not line.startswith("| ---"):
                yield [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]

    def codes(self) -> list[str]:
        """Give what stands in the first cells of all tables as code, in order."""
        return [code for row in self.rows() for code in re.findall(r"`([^`]+)`", row[0])]

    def prose(self) -> str:
        """Give the text without fenced blocks."""
        return _FENCE.sub("", self.text)

    def links(self) -> list[str]:
        """Give the targets of all links."""
        return _LINK.findall(self.prose())

    def anchors(self) -> set[str]:
        """Give the anchors that the headings have on the usual forges."""
        return {
            re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
            for heading in _HEADING.findall(self.text)
        }


def page(name: str) -> Page:
    """Read a page of the repository."""
    path = ROOT / name
    return Page(path, path.read_text(encoding="utf-8"))


def every() -> list[Page]:
    """Read all pages that people are meant to read."""
    names = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return [page(str(path.relative_to(ROOT))) for path in sorted(names)]
