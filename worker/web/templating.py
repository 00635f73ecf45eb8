"""Renders templates, and makes text from outside harmless in one place.

Invariant: everything a template writes is escaped, printable and free of API keys. Neighbours: `fragments` and `pages`
choose what is rendered, `templates/` how.
"""

import collections
import dataclasses
import datetime
import pathlib
import re
from typing import Any, Final

import jinja2
import markupsafe

from worker.core.model.people import annotate
from worker.core.model.secret import redact
from worker.core.monitoring import humanize
from worker.web import service_protocol

_UNIT: Final = re.compile(r"(?<=\d) (?=(?:s|min|h|days)\b)|(?<=\w) (?==)|(?<==) (?=\w)")
_DIRECTORY: Final = pathlib.Path(__file__).parent

ASSETS: Final = {
    name: ((_DIRECTORY / "static" / name).read_bytes(), media)
    for name, media in {
        "style.css": "text/css; charset=utf-8",
        "page.js": "text/javascript; charset=utf-8",
        "live.js": "text/javascript; charset=utf-8",
        "icon.svg": "image/svg+xml",
    }.items()
}
"""Everything `/static/` serves: content and media type by name."""

MAX_ROWS: Final = 100
"""Most rows of a table on a page; the rest is in the journal."""

LABELS: Final = {
    "in_sync": "In sync",
    "converged": "Converged",
    "observed": "Observed",
    "held": "Held",
    "paused": "Paused",
    "partial": "Partial",
    "failed": "Failed",
    None: "Not finished",
}
"""Display names of run results."""

TRIGGERS: Final = {
    "start": "service start",
    "source": "source change",
    "boundary": "date in a source",
}
"""Display names of triggers, where the trigger's own name is not clear enough."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where the pages of an account are: `base` begins their addresses; `account` is its name if there are others.

    `above_accounts` is where several accounts are listed.
    """

    base: str = ""
    account: str = ""
    above_accounts: bool = False


ROOT: Final = Place()
"""The place of the pages of the only account."""

ABOVE_ACCOUNTS: Final = Place(above_accounts=True)
"""The place of the pages that are about several accounts."""


def printable(text: str) -> str:
    """Return text without control and formatting characters, and with API keys masked."""
    return "".join(
        letter
        if letter.isprintable() or letter == "\N{NO-BREAK SPACE}"
        else " "
        if letter.isspace()
        else "\N{REPLACEMENT CHARACTER}"
        for letter in redact(text)
    )


def render(template: str, *, place: Place, **values: Any) -> markupsafe.Markup:
    """Render a template, whose links lead to `place`, and whose commands are about its account."""
    command = f"fleet-sync --account {place.account}" if place.account else "fleet-sync"
    given = {**values, "base": place.base, "account_name": place.account, "command": command}
    given["above_accounts"] = place.above_accounts
    return markupsafe.Markup(_ENVIRONMENT.get_template(template).render(given))  # noqa: S704 - it is escaped


def _sanitized(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, markupsafe.Markup) else value


@jinja2.pass_context
def _code(context: jinja2.runtime.Context, text: str) -> markupsafe.Markup:
    """Mark `text in backticks` as code; a command is about the account of the page."""
    pieces = printable(text).split("`")
    for at in range(1, len(pieces), 2):
        named = re.sub(r"^fleet-sync(?= )", lambda _: context["command"], pieces[at])
        pieces[at] = markupsafe.Markup("<code>{}</code>").format(named)
    return markupsafe.Markup("").join(pieces)


@jinja2.pass_context
def _named(context: jinja2.runtime.Context, text: str) -> str:
    """Put names before the ids in a text, as far as the page knows them."""
    present = context.get("present")
    drivers = context.get("driver_names") or (present.driver_names if present else {})
    return annotate(text, collections.ChainMap(context.get("names") or {}, drivers))


def _keep_units(text: str) -> str:
    """Keep numbers and their units on one line, and settings and their values."""
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
        loader=jinja2.FileSystemLoader(_DIRECTORY / "templates"),
        autoescape=True,
        finalize=_sanitized,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": humanize.ago,
        "until": humanize.time_until,
        "counted": humanize.count,
        "day": _day,
        "iso": _iso,
        "code": _code,
        "named": _named,
        "keep_units": _keep_units,
        "took": _took,
        "trigger": lambda trigger: TRIGGERS.get(trigger, trigger),
        "bytes": _size,
    }
    environment.globals |= {"LABELS": LABELS, "MAX_ROWS": MAX_ROWS, "MAX_FLEETS": service_protocol.MAX_FLEETS}
    return environment


_ENVIRONMENT: Final = _environment()
