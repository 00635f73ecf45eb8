"""`make pictures`: draws the pictures of the documentation, of a terminal and of the status page.

Invariant: each shows the real program. Neighbours: `worker.cli.demo` is what runs in the terminal; the page is served
as `tests.browser` serves it.
"""

import io
import os
import pathlib
import pty
import re
import sys

from rich import console, text
from rich import terminal_theme as themes

from tests.browser import conftest as browser
from tests.web import doubles

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "pictures"
COLUMNS = 92
PAGE = (1280, 860)

_PROGRESS = re.compile(r"\x1b\[\?25l.*?\x1b\[\?25h\s*\x1b\[1A\x1b\[2K", re.DOTALL)
"""What the progress bar writes, until it is gone again."""

_FONT_FACE = re.compile(r"@font-face \{.*?\}\n*", re.DOTALL)


def main() -> None:
    """Draw all pictures."""
    FOLDER.mkdir(exist_ok=True)
    _draw_terminal()
    _draw_page()


def _draw_terminal() -> None:
    """Draw what `fleet-sync demo` prints on a terminal, as SVG."""
    sheet = console.Console(record=True, width=COLUMNS, file=io.StringIO())
    sheet.print(text.Text.from_ansi(_output_of("demo")))
    svg = sheet.export_svg(title="fleet-sync demo", theme=themes.SVG_EXPORT_THEME, unique_id="demo")
    # Fonts of another server would not be loaded in a README, and its readers would be counted there.
    (FOLDER / "demo.svg").write_text(_FONT_FACE.sub("", svg))


def _output_of(*arguments: str) -> str:
    """Return what a command prints on a terminal, with colors."""
    os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    parts = list[bytes]()

    def read(terminal: int) -> bytes:
        parts.append(os.read(terminal, 65536))
        return parts[-1]

    program = pathlib.Path(sys.executable).with_name("fleet-sync")
    if code := os.waitstatus_to_exitcode(pty.spawn([str(program), *arguments], read)):
        sys.exit(code)
    return _PROGRESS.sub("", b"".join(parts).decode()).replace("\r\n", "\n")


def _draw_page() -> None:
    """Draw the status page of a service that holds changes, as PNG."""
    driver = browser.chromium()
    try:
        browser.resize(driver, *PAGE)
        with browser.serving(doubles.holding()) as site:
            site.remember()
            driver.get(site.url)
            driver.save_screenshot(str(FOLDER / "page.png"))
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
