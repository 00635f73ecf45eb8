"""Text from outside stays text on every page: no tag, no script, no control character, no key."""

import dataclasses
import re
from html import parser

import pytest

from tests.web import conftest, doubles
from worker.core.model.desired import Origin, SourceRevision
from worker.core.model.errors import ChargeError
from worker.core.model.identifiers import Account, RunId
from worker.core.model.outcomes import ChangeResult, Refused
from worker.core.model.problem import Problem
from worker.core.model.secret import KEY_PREFIX
from worker.core.model.source_history import ShrunkSource
from worker.core.monitoring import status
from worker.web import templating

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\u202etxt.exe\x1b[31m ch_sk_live_51secret"


class Elements(parser.HTMLParser):
    """The tags of a page, and the names of all attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [name for name, _ in attrs]


def _hostile() -> status.Status:
    change = doubles.change("attach", 1, 0)
    origin = Origin(HOSTILE, 1, 1)
    change = dataclasses.replace(change, origin=origin)
    waiting = dataclasses.replace(doubles.held("detach", 2, 0), message=HOSTILE)
    plan = doubles.guarded(changes=[change], held=[waiting], problems=[Problem(HOSTILE, HOSTILE)], unsettled=True)
    result = ChangeResult(change, Refused(1, HOSTILE, HOSTILE, HOSTILE))
    error = ChargeError(HOSTILE, code=HOSTILE, remedy=f"{HOSTILE} `{HOSTILE}`", request_id=HOSTILE)
    return doubles.calm(
        last=doubles.run(plan=plan, results=[result], error=error, problems=[Problem(HOSTILE, HOSTILE)]),
        fleets=(status.Fleet(doubles.fleet(0), HOSTILE, 1, incomplete=HOSTILE),),
        driver_names={doubles.driver(n): HOSTILE for n in range(4)},
        account=Account(HOSTILE, "live"),
        broken=(status.Broken(status.Part.CHARGE, doubles.NOW, error),),
        sources=(status.Source(SourceRevision("file", HOSTILE, HOSTILE), doubles.NOW),),
        running=status.Running(RunId(HOSTILE), HOSTILE, doubles.NOW),
        standing_by=HOSTILE,
        version=HOSTILE,
    )


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/runs",
        "/runs/run_0001",
        "/fleets",
        f"/fleets/{doubles.fleet(0)}",
        f"/drivers?q={doubles.driver(1)}",
        "/drivers?q=script",
    ],
)
async def test_hostile_text_stays_text(path: str) -> None:
    service = doubles.Service(_hostile())
    assert service.present.last
    await doubles.remember(service, service.present.last, trigger=HOSTILE)
    page = await conftest.read(service, path)
    seen = Elements(page)
    assert "img" not in seen.tags
    assert [name for name in seen.attributes if name.startswith("on") or name in ("style", "src")] == ["src"] * (
        1 + (path == "/")  # our own scripts
    )
    assert "<script>" not in page
    assert "{{7*7}}" in conftest.plain(page) or path == "/drivers?q=script"
    for banned in ("ch_sk_live_51secret", "\u202e", "\x1b"):
        assert banned not in page


async def test_the_search_text_is_escaped() -> None:
    page = await conftest.read(
        doubles.Service(), "/drivers?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&fleet=%22%3E%3Cb%3E"
    )
    assert "<script>" not in page
    assert "<b>" not in page


@pytest.mark.integration
async def test_the_page_has_no_inline_scripts_or_styles() -> None:
    for mood in doubles.MOODS.values():
        service = doubles.Service(mood())
        await doubles.past(service, 12)
        page = await conftest.read(service)
        seen = Elements(page)
        assert "style" not in seen.tags | {*seen.attributes}
        assert not [name for name in seen.attributes if name.startswith("on")]
        known = r'<script(?! src="/static/(page.js"|live.js" data-events="/events") defer></script>)'
        assert re.findall(known, page) == []
        assert "javascript:" not in page


async def test_printable_replaces_control_characters_only() -> None:
    assert templating.printable("Zoë's van\n(№ 2)") == "Zoë's van (№ 2)"
    assert templating.printable("a\x00b\u202ec") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"


def test_an_api_key_is_masked() -> None:
    assert KEY_PREFIX in templating.printable("ch_sk_live_51secret")
    assert "51secret" not in templating.printable("ch_sk_live_51secret")


async def test_a_source_that_shrank_can_be_approved_without_any_held_change() -> None:
    shrunk = ShrunkSource(HOSTILE, 50, 100, f"{HOSTILE} lost half")
    plan = dataclasses.replace(doubles.guarded(), shrunk=(shrunk,))
    service = doubles.Service(doubles.calm(last=doubles.run(plan=plan)))
    page = await conftest.read(service)
    assert "Approve a source that lost rows" in page
    assert f'value="{plan.held_digest}"' in page
    assert HOSTILE not in page
