"""Formats plans as Markdown, for comments on pull requests and for job summaries.

Invariants: at most `MOST_CHARACTERS`, of which the most important come first. Text from Charge or a document is shown
as it is written: it is not markup, mentions no one and links nowhere, on GitHub or GitLab. Neighbours: `render` formats
the same for terminals.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from worker.cli import command_line, layout, render
from worker.core.model.identifiers import FleetId
from worker.core.model.people import annotate
from worker.core.model.plan import Action, Change, GuardedPlan
from worker.core.model.problem import Problem
from worker.core.monitoring import humanize, reasons
from worker.core.safety import guard
from worker.engine import plan_builder

MOST_CHARACTERS = 64_000
"""A comment on GitHub has at most 65,536."""

_LONG = 10
"""Changes of a fleet from which its table is folded."""

_MANY = 50
"""Changes of a plan from which all its tables are folded."""

_MOST_PROBLEMS = 50
_LONGEST_TEXT = 300
_RESERVE = 200  # for the last line

_ACTIVE = re.compile(r"(?<=[@#!~%&$:])|(?<=www)(?=\.)", re.IGNORECASE)
_PLACE = re.compile(r"[A-Za-z0-9_./:-]+")
_PLAIN = " -.,'"


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """A part of the document: a line for each of `items`, of which the last ones may be cut off."""

    head: str
    items: Sequence[Any] = ()
    line: Callable[[Any], str] = str
    tail: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Names:
    """The names of drivers and fleets, and the statuses of those that are not active, by id."""

    names: Mapping[str, str]
    inactive: Mapping[str, str]

    def shown(self, id: str, *, default: str = "") -> str:
        name = text(self.names.get(id, default))
        return f"{name} ({text(self.inactive[id])})" if id in self.inactive else name

    def annotate(self, raw: str) -> str:
        return text(annotate(raw, self.names))


def plan(plan_result: plan_builder.PlanResult, *, fleets: Sequence[str] = ()) -> str:
    """Return a guarded plan as Markdown; `fleets` are those of `--fleet`."""
    guarded = plan_result.guarded
    names = _Names(guarded.names, plan_result.actual.inactive)
    shown = len(guarded.changes) + len(guarded.held)
    parts = [
        _Part(f"**{text(render.summary(guarded))}**\n"),
        *_problems(guarded, names),
        *_held(guarded, names, fleets),
        *([_Part("### Changes\n")] if guarded.changes and guarded.needs_approval else []),
        *(
            _table(fleet, tuple(changes), names, folded=shown > _MANY)
            for fleet, changes in itertools.groupby(guarded.changes, key=lambda change: change.fleet)
        ),
    ]
    return _joined(parts)


def text(raw: str) -> str:
    """Return a text from outside, so that Markdown and HTML show it as it is written."""
    printable = layout.printable(raw)
    clipped = printable if len(printable) <= _LONGEST_TEXT else f"{printable[:_LONGEST_TEXT]}…"
    # Mentions and links are found in the finished text, after character references: a space of no width ends them.
    harmless = _ACTIVE.sub("\u200b", clipped)
    start = len(harmless) - len(harmless.lstrip(f"{_PLAIN}0123456789"))  # of a line, where "- " and "1. " make lists
    return "".join(
        each if each.isalnum() or (each in _PLAIN and at >= start) else f"&#{ord(each)};"
        for at, each in enumerate(harmless)
    )


def _place(where: str) -> str:
    """Return a place as code, so that it can be copied and `:100:` is no picture; or as text if that is not safe."""
    return f"`{where}`" if _PLACE.fullmatch(where) else text(where)


def _problems(guarded: GuardedPlan, names: _Names) -> Iterator[_Part]:
    for title, is_note in (("Problems", False), ("Notes", True)):
        problems = [problem for problem in guarded.problems if problem.note is is_note]
        shown = problems[:_MOST_PROBLEMS]
        more = len(problems) - len(shown)
        if problems:
            line = functools.partial(_problem, names=names)
            yield _Part(f"### {title}\n\n", shown, line, f"- … and {more} more\n" if more else "")


def _problem(problem: Problem, *, names: _Names) -> str:
    return f"- {_place(problem.where)} {names.annotate(problem.message)}\n"


def _held(guarded: GuardedPlan, names: _Names, fleets: Sequence[str]) -> Iterator[_Part]:
    if not guarded.needs_approval:
        return
    groups = reasons.group(guarded.held, reason=lambda each: each.message, fleet=lambda each: each.change.fleet)
    explained = {group.reason for group in groups}
    yield _Part(
        f"### Held back: {render.held_back(guarded)}\n",
        [each.message for each in guarded.shrunk if each.message not in explained],
        lambda message: f"{text(message)}\n",
    )
    if guarded.shrunk and fleets:
        yield _Part(f"{text(render.NOT_FOR_SOME_FLEETS)}\n")
    elif guarded.shrunk or any(held.guard != guard.MUST_SEE for held in guarded.held):
        yield _Part(
            "If this is what you want, approve exactly these changes:\n\n"
            f"```\n{render.approving(guarded, fleets)}\n```\n"
        )
    for group in groups:
        yield _Part(f"{names.annotate(group.reason)}\n")
        for fleet, held in group.fleets.items():
            yield _table(fleet, tuple(each.change for each in held), names, folded=len(guarded.held) > _MANY)


def _table(fleet: FleetId, changes: tuple[Change, ...], names: _Names, *, folded: bool) -> _Part:
    name = names.shown(fleet, default="Fleet")
    attach = sum(change.action is Action.ATTACH for change in changes)
    counted = ((attach, "attach"), (len(changes) - attach, "detach"))
    counts = ", ".join(f"{count} to {action}" for count, action in counted if count)
    with_source = any(change.origin for change in changes)
    head = "| | driver | id |{}\n| --- | --- | --- |{}\n".format(
        *((" source |", " --- |") if with_source else ("", ""))
    )
    row = functools.partial(_row, names=names, with_source=with_source)
    if folded or len(changes) > _LONG:
        # Inside <summary> nothing is Markdown, so the id has no backticks.
        summary = f"<details>\n<summary><b>{name}</b> {fleet}: {counts}</summary>\n\n"
        return _Part(f"{summary}{head}", changes, row, "\n</details>\n")
    return _Part(f"**{name}** `{fleet}`: {counts}\n\n{head}", changes, row)


def _row(change: Change, *, names: _Names, with_source: bool) -> str:
    origin = "" if change.origin is None else _place(str(change.origin))
    source = f" {origin} |" if with_source else ""
    return f"| {change.action.value} | {names.shown(change.driver)} | `{change.driver}` |{source}\n"


def _joined(parts: Iterable[_Part]) -> str:
    """Return the parts, cut to `MOST_CHARACTERS`."""
    pieces: list[str] = []
    room, left_out = MOST_CHARACTERS - _RESERVE, 0
    for part in parts:
        room -= len(part.head) + len(part.tail) + 1
        fitting: list[str] = []
        for line in map(part.line, part.items):
            if len(line) > room:
                break
            room -= len(line)
            fitting.append(line)
        if fitting or (not part.items and room >= 0):
            pieces.append("".join((part.head, *fitting, part.tail)))
        else:
            room += len(part.head) + len(part.tail) + 1
        left_out += len(part.items) - len(fitting)
    if left_out:
        shows_all = f"`{command_line.command('plan')}` shows all."
        pieces.append(f"Not shown for lack of space: {humanize.count(left_out, 'line')}. {shows_all}\n")
    return "\n".join(pieces).rstrip("\n")
