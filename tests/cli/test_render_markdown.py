"""Plans as Markdown: short enough for a comment, and harmless whatever names are in them."""

import functools
import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.cli import test_render as plans
from worker.cli import render_markdown
from worker.core.model.actual import Actual
from worker.core.model.desired import Origin
from worker.core.model.identifiers import DriverId
from worker.core.model.people import Person
from worker.core.model.plan import Action, Change, GuardedPlan, HeldChange
from worker.core.model.problem import Problem
from worker.core.model.source_history import ShrunkSource
from worker.core.safety import guard
from worker.engine import plan_builder

COMMENT = 65_000
HOSTILE = (
    "a | b",
    "a \\| b",
    "`code` ``two``",
    "<script>alert(1)</script>",
    "</details><img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "line\nbreak\r\n| - | - |",
    "@octocat and @org/team",
    "fixes #12, org/repo#3, !4, ~label, %5, $6",
    "[text](https://evil.example)",
    "![image](https://evil.example/x.png)",
    "https://evil.example www.evil.example ftp://evil.example mailto:a@b.example",
    "<https://evil.example>",
    "**bold** _it_ ~~no~~ # head",
    "- [ ] task",
    "1. one",
    "    code",
    "100",
    ":tada:",
    "\u202egnp.exe \u200b\x00\x1b[31m",
    "```",
    "-->",
)


def _plan(guarded: GuardedPlan, actual: Actual = plans.ACTUAL) -> str:
    return render_markdown.plan(plan_builder.PlanResult(plans.DESIRED, actual, guarded))


def _rendered(markdown: str) -> str:
    """Return the HTML that a forge makes of a comment: tables, strikethrough and HTML are allowed in it."""
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


@functools.cache
def _usual_page() -> str:
    return _rendered(_named("x"))


_TAG = re.compile(r"<[^>]*>")
_ACTIVE = re.compile(r"www\.|[a-z]://|mailto:\w|[@#!~%&$][^\s\u200b]|:\w+:", re.IGNORECASE)
"""What a forge turns into links, mentions and pictures in the finished text."""


def _elements(page: str) -> list[str]:
    return [tag for tag in _TAG.findall(page) if tag not in ("<code>", "</code>")]


def _texts(page: str) -> list[str]:
    """Return the texts in which a forge looks for them: it skips code."""
    return [html.unescape(text) for text in _TAG.split(re.sub(r"<code[ >].*?</code>", "", page, flags=re.DOTALL))]


def _named(name: str) -> str:
    """Return a plan with this text wherever a text from outside may be."""
    actual = Actual(fleets={}, memberships={}, statuses={plans.DRIVER: name})
    people, fleet_names = {plans.DRIVER: Person(name)}, {plans.VANS: name, plans.DEPOT: name}
    attach = Change(Action.ATTACH, plans.DRIVER, plans.VANS, Origin(f"{name}.yaml", 3, 7))
    held = tuple(HeldChange(Change(Action.DETACH, plans.DRIVER, plans.DEPOT), guard.PER_RUN, name) for _ in range(60))
    problems = (Problem(name, name),)
    guarded = plans.new_plan(attach, held=held, problems=problems, people=people, fleet_names=fleet_names)
    return _plan(guarded, actual)


def test_a_plan_is_a_summary_and_a_table_for_each_fleet() -> None:
    people, fleet_names = {plans.DRIVER: Person("Emma")}, {plans.VANS: "Paris vans"}
    assert _plan(plans.new_plan(plans.ATTACH, plans.DETACH, people=people, fleet_names=fleet_names)) == (
        "**Plan&#58;&#8203; 1 to attach, 1 to detach, 0 held&#59; 1,234 memberships in 1 fleet already in sync.**\n\n"
        f"**Paris vans** `{plans.VANS}`: 1 to attach\n\n"
        "| | driver | id | source |\n| --- | --- | --- | --- |\n"
        f"| attach | Emma | `{plans.DRIVER}` | `teams.yaml:3:7` |\n\n"
        f"**Fleet** `{plans.DEPOT}`: 1 to detach\n\n"
        "| | driver | id |\n| --- | --- | --- |\n"
        f"| detach |  | `{plans.OTHER}` |"
    )


def test_what_is_held_comes_with_its_reason_and_the_command_that_approves_it() -> None:
    held = (HeldChange(plans.DETACH, guard.PER_RUN, "too many"),)
    guarded = plans.new_plan(plans.ATTACH, held=held)
    page = _plan(guarded)
    assert "### Held back: 1 detach\n" in page and "\ntoo many\n" in page
    assert f"```\nfleet-sync once --approve {guarded.held_digest}\n```\n" in page
    assert page.index("too many") < page.index(plans.DEPOT) < page.index("### Changes\n") < page.index(plans.VANS)
    assert "### Changes" not in _plan(plans.new_plan(plans.ATTACH)) + _plan(plans.new_plan(held=held))
    never = (HeldChange(plans.DETACH, guard.MUST_SEE, "not seen"),)
    assert "--approve" not in _plan(plans.new_plan(held=never))


def test_what_is_held_for_one_reason_has_it_once() -> None:
    shrunk = (ShrunkSource("hr", 50, 100, "source hr lost half"),)
    other = Change(Action.DETACH, plans.DRIVER, plans.VANS)
    held = tuple(HeldChange(each, guard.SOURCE_SHRANK, "source hr lost half") for each in (plans.DETACH, other))
    page = _plan(plans.new_plan(held=held, shrunk=shrunk))
    assert page.count("source hr lost half") == 1
    assert page.index("source hr lost half") < page.index(plans.DEPOT) < page.index(plans.VANS)


def test_nothing_to_do_is_one_line() -> None:
    assert _plan(plans.new_plan()) == "**In sync&#58;&#8203; 1,234 memberships in 1 fleet.**"


@pytest.mark.parametrize(("count", "folded"), [(10, False), (11, True)])
def test_a_long_table_is_folded(count: int, folded: bool) -> None:
    changes = [Change(Action.ATTACH, DriverId(f"drv_{number:032}"), plans.VANS) for number in range(count)]
    page = _plan(plans.new_plan(*changes))
    assert ("<details>" in page) is ("</details>" in page) is folded
    assert page.count("| attach |") == count
    assert _rendered(page).count("<td>attach</td>") == count


@pytest.mark.integration
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_they_are_written(name: str) -> None:
    harmless, hostile = _usual_page(), _rendered(_named(name))
    assert _elements(hostile) == _elements(harmless), "no other element, attribute or link"
    assert hostile.count("<code>") <= harmless.count("<code>"), "an unusual place is not shown as code"
    assert not [text for text in _texts(hostile) if _ACTIVE.search(text)]
    shown = "".join(_texts(hostile.replace("<code>", "").replace("</code>", "")))
    assert "".join(each for each in name if each.isprintable()) in shown.replace("\u200b", "").replace("\ufffd", "")


@pytest.mark.integration
@given(st.text(max_size=40))
def test_no_name_adds_an_element(name: str) -> None:
    page, usual = _rendered(_named(f"x{name}")), _usual_page()
    assert _elements(page) == _elements(usual)
    assert page.count("<code>") <= usual.count("<code>")
    assert not [text for text in _texts(page) if _ACTIVE.search(text)]


@pytest.mark.parametrize("name", ["Emma", "|" * 300, "山" * 400])
def test_even_the_longest_plan_fits_a_comment_and_says_what_is_missing(name: str) -> None:
    drivers = [DriverId(f"drv_{number:032}") for number in range(3000)]
    people, fleet_names = dict.fromkeys(drivers, Person(name)), {plans.VANS: name}
    changes = [Change(Action.ATTACH, driver, plans.VANS, Origin(name, 1, 1)) for driver in drivers]
    held = tuple(HeldChange(Change(Action.DETACH, driver, plans.DEPOT), guard.PER_RUN, name) for driver in drivers)
    problems = tuple(Problem(f"{number}", name) for number in range(3000))
    page = _plan(plans.new_plan(*changes, held=held, problems=problems, people=people, fleet_names=fleet_names))
    assert 50_000 < len(page) < COMMENT
    assert re.search(r"Not shown for lack of space: [0-9,]+ lines\. `fleet-sync plan` shows all\.$", page)
    assert page.count("<details>") == page.count("</details>")
    assert "… and 2950 more" in page and "--approve sha256:" in page


def test_a_source_that_shrank_comes_with_the_command_that_approves_it() -> None:
    guarded = plans.new_plan(shrunk=(ShrunkSource("hr", 50, 100, "source *hr* lost half"),))
    page = _rendered(_plan(guarded))
    assert "all further detaches" in page
    assert "source *hr* lost half" in html.unescape(page)
    assert f"--approve {guarded.held_digest}" in page
