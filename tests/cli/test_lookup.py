"""What commands say about a name that several drivers or fleets have."""

from collections.abc import Mapping

import click
import pytest

from tests.support import clocks, memory_journal
from worker.cli import lookup
from worker.core.model.identifiers import Account, DriverId, FleetId

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


async def test_an_id_needs_no_journal_that_knows_it() -> None:
    record = _Namesakes(0)
    driver, fleet = f"drv_{'a' * 32}", f"flt_{'b' * 32}"
    assert (await lookup.driver(record, driver), await lookup.fleet(record, fleet)) == (driver, fleet)


@pytest.mark.parametrize(
    ("text", "said", "listed"),
    [
        ("Paris van", "perhaps one of these is meant:", ["Paris vans (flt_1)"]),
        ("Lyon", "it knows these:", ["Paris vans (flt_1)", "Nantes couriers (flt_2)"]),
    ],
)
async def test_for_a_name_that_no_fleet_has_those_are_listed_that_may_be_meant(
    text: str, said: str, listed: list[str]
) -> None:
    record = memory_journal.MemoryJournal(clock=clocks.Still())
    fleets = {FleetId("flt_1"): "Paris vans", FleetId("flt_2"): "Nantes couriers"}
    await record.claim(Account("https://charge.test/v1", "test"), fleets=fleets, managed=())
    with pytest.raises(click.BadParameter) as caught:
        await lookup.fleet(record, text)
    head, *lines = caught.value.message.splitlines()
    assert head == f"the journal knows no fleet with the name {text!r}; {said}"
    assert [line.strip() for line in lines] == listed
