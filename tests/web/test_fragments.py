"""Rendering: once for all readers, and in one pass over what is large."""

import dataclasses
from collections.abc import Iterator

import anyio
import pytest

from tests.web import doubles
from worker.core.model.pauses import Pause
from worker.core.model.plan import HeldChange
from worker.web import fragments

pytestmark = pytest.mark.anyio


async def test_readers_in_the_same_tick_share_a_rendering() -> None:
    service = doubles.Service()
    await doubles.past(service, 3)
    service.record.given.clear()
    shown, renderings = fragments.Fragments(service, approvable=True), list[fragments.Rendered]()

    async def read_page(tick: int) -> None:
        renderings.append(await shown.at(tick))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(read_page, 7)
    assert service.record.given == [4]
    assert {id(each) for each in renderings} == {id(renderings[0])}
    await read_page(6)
    assert renderings[-1] is renderings[0]
    service.present = doubles.working()
    await read_page(8)
    assert service.record.given == [4, 4]
    assert "Working" in renderings[-1].title


class Counted(tuple[HeldChange, ...]):
    """Held changes that count how often they are iterated over."""

    walks = 0

    def __iter__(self) -> Iterator[HeldChange]:
        type(self).walks += 1
        return super().__iter__()


async def test_rendering_iterates_over_held_changes_once_for_alerts_and_once_for_the_approval() -> None:
    plan = dataclasses.replace(
        doubles.guarded(), held=Counted(doubles.held("detach", number, 3) for number in range(40))
    )
    service = doubles.Service(doubles.calm(last=doubles.run(plan=plan)))
    Counted.walks = 0
    drawn = await fragments.Fragments(service, approvable=True).at(1)
    assert "40 detaches are held" in drawn.fragments["banner"]
    assert Counted.walks == 2


async def _drawn(service: doubles.Service, *, approvable: bool = True) -> fragments.Rendered:
    return await fragments.Fragments(service, approvable=approvable).at(1)


@pytest.mark.parametrize(("number", "more"), [(fragments.MAX_ALERTS, ""), (fragments.MAX_ALERTS + 3, "and 3 more")])
async def test_more_alerts_than_fit_are_counted(number: int, more: str) -> None:
    pauses = tuple(Pause(doubles.NOW, None, "Emma", "", doubles.fleet(n)) for n in range(number))
    attention = (await _drawn(doubles.Service(doubles.calm(pauses=pauses)))).fragments["attention"]
    assert attention.count('<li class="item') == fragments.MAX_ALERTS
    assert (" more:" in attention) is bool(more) and more in attention


@pytest.mark.parametrize(("older", "has_link"), [(fragments.MAX_RUNS - 1, False), (fragments.MAX_RUNS, True)])
async def test_older_runs_are_a_link_away_if_there_are_any(older: int, has_link: bool) -> None:
    service = doubles.Service()
    await doubles.past(service, older)
    history = (await _drawn(service)).fragments["history"]
    assert history.count('<th scope="row">') == fragments.MAX_RUNS
    assert ("Older runs" in history) is has_link


async def test_an_approval_lists_the_held_changes_fleet_by_fleet() -> None:
    waiting = [doubles.held("detach", who, where) for who, where in ((1, 0), (2, 1), (3, 0), (4, 1))]
    service = doubles.Service(doubles.calm(last=doubles.run(plan=doubles.guarded(held=waiting))))
    approve = (await _drawn(service)).fragments["approve"]
    first, second = sorted((0, 1), key=doubles.fleet)
    assert approve.index(doubles.FLEET_NAMES[first]) < approve.index(doubles.FLEET_NAMES[second])
    assert [approve.count(doubles.FLEET_NAMES[n]) for n in (0, 1)] == [1, 1]
    assert doubles.DIGEST not in (await _drawn(service, approvable=False)).fragments["approve"]


async def test_the_title_of_the_tab_begins_with_the_condition() -> None:
    service = doubles.Service(doubles.calm(standing_by="another process"))
    assert (await _drawn(service)).title.startswith("Standing by ")
