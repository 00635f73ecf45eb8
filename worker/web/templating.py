"""Turns values into HTML: one place where text of foreign origin is made harmless.

Invariant: what a template writes is escaped, has printable letters only, and gives away no key. Neighbours:
`parts` and `pages` say what is drawn, `templates/` how.
"""

import datetime
import pathlib
import re
from typing import Any, Final

import jinja2
import markupsafe

from worker.core.model.secret import redact
from worker.core.monitoring import humanize
from worker.web import service_protocol

_UNIT: Final = re.compile(r"(?<=\d) (?=(?:s|min|h|days)\b)")
_HERE: Final = pathlib.Path(__file__).parent

ASSETS: Final = {
    name: ((_HERE / "static" / name).read_bytes(), media)
    for name, media in {
        "style.css": "text/css; charset=utf-8",
        "live.js": "text/javascript; charset=utf-8",
        "icon.svg": "image/svg+xml",
    }.items()
}
"""What `/static/` serves, and nothing else: name to content and media type."""

MOST_ROWS: Final = 100
"""Rows of a table that a page shows; the journal has the rest."""

LABELS: Final = {
    "in_sync": "In sync",
    "converged": "Converged",
    "held": "Held",
    "partial": "Partly done",
    "failed": "Failed",
    None: "Not finished",
}
"""What the result of a run is called."""

TRIGGERS: Final = {
    "start": "start of the service",
    "source": "change of a source",
    "boundary": "date in a source",
}
"""What began a run, where its trigger alone does not say it."""


def printable(text: str) -> str:
    """Write text without what steers a reader's eye or a browser, and without anything that looks like a key."""
    return "".join(
        letter
        if letter.isprintable() or letter == "\N{NO-BREAK SPACE}"
        else " "
        if letter.isspace()
        else "\N{REPLACEMENT CHARACTER}"
        for letter in redact(text)
    )


def render(template: str, **values: Any) -> markupsafe.Markup:
    """Draw a template."""
    return markupsafe.Markup(_ENVIRONMENT.get_template(template).render(values))  # noqa: S704 - it is escaped


def _harmless(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, markupsafe.Markup) else value


def _ticked(text: str) -> markupsafe.Markup:
    """Write `text in backticks` as code."""
    pieces = enumerate(printable(text).split("`"))
    marked = (markupsafe.Markup("<code>{}</code>").format(piece) if at % 2 else piece for at, piece in pieces)
    return markupsafe.Markup("").join(marked)


def _tied(text: str) -> str:
    """Keep numbers and their units in one line."""
    return _UNIT.sub("\N{NO-BREAK SPACE}", text)


def _iso(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _day(moment: datetime.datetime) -> str:
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}"


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else humanize.duration(datetime.timedelta(seconds=seconds))


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        finalize=_harmless,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": humanize.ago,
        "ahead": humanize.time_until,
        "clock": humanize.time_of_day,
        "counted": humanize.count,
        "day": _day,
        "iso": _iso,
        "ticked": _ticked,
        "tied": _tied,
        "took": _took,
        "trigger": lambda trigger: TRIGGERS.get(trigger, trigger),
        "bytes": _size,
    }
    environment.globals |= {"LABELS": LABELS, "MOST_ROWS": MOST_ROWS, "MOST_FLEETS": service_protocol.MOST_FLEETS}
    return environment


_ENVIRONMENT: Final = _environment()
