"""Rendering: once for all readers, and in one pass over what is large."""

import dataclasses
from collections.abc import Iterator

import anyio
import pytest

from tests.web import doubles
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
