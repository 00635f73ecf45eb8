"""What commands say about a name that several drivers or fleets have."""

from collections.abc import Mapping

import click
import pytest

from tests.support import clocks, memory_journal
from worker.cli import lookup
from worker.core.model.identifiers import DriverId, FleetId

pytestmark = pytest.mark.anyio


class _Namesakes(memory_journal.MemoryJournal):
    """A journal in which so many drivers and fleets have one name."""

    def __init__(self, number: int) -> None:
        super().__init__(clock=clocks.Still())
        self.number = number

    async def drivers_named(self, text: str, *, limit: int) -> tuple[DriverId, ...]:
        return tuple(DriverId(f"drv_{number}") for number in range(min(limit, self.number)))

    async def fleets(self) -> Mapping[FleetId, str]:
        return {FleetId(f"flt_{number}"): "Vans" for number in range(self.number)}


@pytest.mark.parametrize(("number", "lines"), [(2, 2), (10, 10), (11, 11)])
async def test_ten_of_a_name_are_listed_and_whether_there_are_more(number: int, lines: int) -> None:
    record = _Namesakes(number)
    for look_up in (lookup.driver, lookup.fleet):
        with pytest.raises(click.BadParameter) as caught:
            await look_up(record, "Vans")
        _, *listed = caught.value.message.splitlines()
        assert len(listed) == lines
        assert (listed[-1] == "  …") == (number > 10)


async def test_the_only_one_of_a_name_is_found() -> None:
    record = _Namesakes(1)
    assert (await lookup.driver(record, "Vans"), await lookup.fleet(record, " vans ")) == ("drv_0", "flt_0")
