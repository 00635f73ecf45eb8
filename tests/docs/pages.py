"""Read our Markdown pages, with their fenced blocks, tables, headings and links, and our modules.

Invariant: nothing that a reader sees is skipped. Neighbours: every test in this folder uses it.
"""

import ast
import dataclasses
import functools
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
    """A fenced block with its language."""

    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Return the lines."""
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
        """Return the fenced blocks in these languages, in order."""
        found = (Block(language, text) for language, text in _FENCE.findall(self.text))
        return [block for block in found if not languages or block.language in languages]

    def section(self, heading: str) -> "Page":
        """Return the text below a heading, up to the next heading of the same level."""
        level, _, _ = heading.partition(" ")
        start = self.text.index(f"\n{heading}\n") + len(heading) + 2
        end = self.text.find(f"\n{level} ", start)
        return Page(self.path, self.text[start : end if end >= 0 else None])

    def rows(self) -> Iterator[list[str]]:
        """Yield the cells of every row of every table, without header rows."""
        lines = self.prose().splitlines()
        for before, line in itertools.pairwise(lines):
            if line.startswith("| ") and before.startswith("| ") and not line.startswith("| ---"):
                yield [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]

    def codes(self) -> list[str]:
        """Return all code in the first cells of all tables, in order."""
        return [code for row in self.rows() for code in re.findall(r"`([^`]+)`", row[0])]

    def prose(self) -> str:
        """Return the text without fenced blocks."""
        return _FENCE.sub("", self.text)

    def links(self) -> list[str]:
        """Return the targets of all links."""
        return _LINK.findall(self.prose())

    def anchors(self) -> set[str]:
        """Return the anchors that common forges give the headings."""
        return {
            re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
            for heading in _HEADING.findall(self.text)
        }


def page(name: str) -> Page:
    """Read a page of the repository."""
    path = ROOT / name
    return Page(path, path.read_text(encoding="utf-8"))


@functools.cache
def tree(path: pathlib.Path) -> ast.Module:
    """Parse a module once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes(path: pathlib.Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a module. To walk through all modules once for each rule takes seconds."""
    return tuple(ast.walk(tree(path)))


def every() -> list[Page]:
    """Read all pages."""
    names = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return [page(str(path.relative_to(ROOT))) for path in sorted(names)]
