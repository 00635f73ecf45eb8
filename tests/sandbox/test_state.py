"""The state of the sandbox: realistic, repeatable, with a complete record of effects."""

import collections
import itertools
import re

import pytest

from worker.sandbox import fake_data, state


def test_the_same_seed_makes_the_same_account() -> None:
    first, second = (state.SandboxState.populate(drivers=50, fleets=4, seed=7) for _ in range(2))
    assert first.drivers == second.drivers
    assert first.fleets == second.fleets
    assert first.memberships() == second.memberships()


def test_another_seed_makes_other_people() -> None:
    first, second = (state.SandboxState.populate(drivers=50, fleets=4, seed=seed) for seed in (1, 2))
    assert first.drivers.keys().isdisjoint(second.drivers)


@pytest.mark.integration
def test_people_are_told_apart_by_address_and_employee_number() -> None:
    held = state.SandboxState.populate(drivers=3000, fleets=200)
    drivers = held.drivers.values()
    assert len({driver.email for driver in drivers}) == 3000
    assert all(re.fullmatch(r"[a-z.]+\d*@example\.com", driver.email) for driver in drivers)
    assert len({driver.metadata["employee_id"] for driver in drivers}) == 3000
    assert next(iter(drivers)).metadata["employee_id"] == "10001"
    assert len({fleet.name for fleet in held.fleets.values()}) == 200


def test_ids_are_a_prefix_and_thirty_two_letters_or_digits() -> None:
    held = state.SandboxState.populate(drivers=20, fleets=3)
    assert all(re.fullmatch(r"drv_[A-Za-z0-9]{32}", driver) for driver in held.drivers)
    assert all(re.fullmatch(r"flt_[A-Za-z0-9]{32}", fleet) for fleet in held.fleets)


def test_most_drivers_are_in_one_fleet_some_in_two_a_few_in_none() -> None:
    held = state.SandboxState.populate(drivers=1000, fleets=8)
    counts = collections.Counter(len(held.fleets_of(driver)) for driver in held.drivers)
    assert set(counts) == {0, 1, 2}
    assert counts[1] > 800
    assert 10 < counts[0] < counts[2] < 200


def test_an_account_without_fleets_has_only_drivers() -> None:
    held = state.SandboxState.populate(drivers=5, fleets=0)
    assert len(held.drivers) == 5
    assert held.memberships() == frozenset()


def test_both_directions_of_a_membership_agree() -> None:
    held = state.SandboxState.populate(drivers=100, fleets=5)
    driver, fleet = sorted(held.memberships())[0]
    assert held.detach(driver, fleet)
    assert not held.detach(driver, fleet)
    assert driver not in held.members(fleet)
    assert held.attach(driver, fleet)
    assert not held.attach(driver, fleet)
    assert held.memberships() == {(driver, fleet) for fleet in held.fleets for driver in held.members(fleet)}
    assert held.effects == []


def test_a_removed_driver_leaves_no_membership_behind() -> None:
    held = state.SandboxState()
    fleet = held.add_fleet()
    driver = held.add_driver(fleets=[fleet])
    assert held.newest_drivers() == held.newest_drivers(fleet) == (driver,)
    held.remove_driver(driver)
    assert held.newest_drivers() == held.newest_drivers(fleet) == ()


def test_a_driver_and_a_fleet_can_change() -> None:
    held = state.SandboxState()
    fleet, driver = held.add_fleet(name="Paris vans"), held.add_driver(email="a@example.com")
    held.change_driver(driver, email="b@example.com", metadata={"employee_id": "7"}, status="archived")
    held.change_fleet(fleet, name="Lyon depot", status="suspended")
    assert held.drivers[driver].email == "b@example.com"
    assert held.drivers[driver].metadata == {"employee_id": "7"}
    held.change_driver(driver)
    held.change_fleet(fleet)
    assert held.drivers[driver].status == "archived"
    assert (held.fleets[fleet].name, held.fleets[fleet].status) == ("Lyon depot", "suspended")


def test_an_id_is_given_out_once() -> None:
    held = state.SandboxState()
    driver, fleet = held.add_driver(id="drv_one"), held.add_fleet(id="flt_one")
    with pytest.raises(ValueError, match="drv_one"):
        held.add_driver(id=driver)
    with pytest.raises(ValueError, match="flt_one"):
        held.add_fleet(id=fleet)


def test_times_are_rfc_3339_in_utc_with_milliseconds() -> None:
    assert state.stamp(1_767_225_599.9876) == "2025-12-31T23:59:59.987Z"


def test_a_name_becomes_a_plain_address() -> None:
    assert fake_data.slug("Søren Wójcik") == "soren.wojcik"


def test_who_and_what_is_added_or_removed_later_changes_the_listings() -> None:
    held = state.SandboxState.populate(drivers=3, fleets=2)
    fleets, drivers = held.newest_fleets(), held.newest_drivers()
    fleet = held.add_fleet()
    driver = held.add_driver(fleets=[fleet])
    assert held.newest_fleets() == (fleet, *fleets)
    assert held.newest_drivers() == (driver, *drivers)
    assert held.newest_drivers(fleet) == (driver,)
    held.remove_driver(driver)
    assert held.newest_drivers() == drivers
    assert held.newest_drivers(fleet) == ()


def test_what_is_added_without_a_name_is_called_by_its_number_and_created_in_order() -> None:
    held = state.SandboxState()
    fleet, driver, named = held.add_fleet(), held.add_driver(), held.add_driver(email="a@example.com", name="Alice")
    assert held.fleets[fleet].name == "Fleet 0"
    assert (held.drivers[driver].name, held.drivers[driver].email) == ("Driver 1", "driver1@example.com")
    assert (held.drivers[named].name, held.drivers[named].email) == ("Alice", "a@example.com")
    created = [held.fleets[fleet].created, held.drivers[driver].created, held.drivers[named].created]
    assert created == ["2025-01-06T08:00:00.000Z", "2025-01-06T08:07:00.000Z", "2025-01-06T08:14:00.000Z"]


def test_a_change_of_one_field_keeps_the_others() -> None:
    held = state.SandboxState()
    fleet = held.add_fleet(name="Paris vans", status="suspended")
    driver = held.add_driver(email="a@example.com", metadata={"employee_id": "7"}, status="suspended")
    before = held.fleets[fleet], held.drivers[driver]
    held.change_driver(driver)
    held.change_fleet(fleet)
    assert (held.fleets[fleet], held.drivers[driver]) == before
    held.change_driver(driver, email="", metadata={})
    held.change_fleet(fleet, name="")
    assert (held.drivers[driver].email, held.drivers[driver].metadata, held.fleets[fleet].name) == ("", {}, "")


def test_fleets_repeat_a_city_only_with_another_kind_and_a_name_only_with_a_number() -> None:
    names = list(itertools.islice(fake_data.fleets(), 2 * len(fake_data.CITIES) * len(fake_data.KINDS)))
    assert names[:2] == ["Paris vans", "Lyon depot"]
    assert len(set(names)) == len(names)
    assert len({name.split()[0] for name in names[: len(fake_data.CITIES)]}) == len(fake_data.CITIES)
    assert names[len(names) // 2] == "Paris vans 2" and not any(name[-1].isdigit() for name in names[: len(names) // 2])


def test_the_second_person_of_a_name_has_a_number_in_the_address() -> None:
    addresses: dict[str, list[str]] = collections.defaultdict(list)
    for name, email in itertools.islice(fake_data.drivers(fake_data.generator(1)), 5000):
        addresses[fake_data.slug(name)].append(email)
    local, most = max(addresses.items(), key=lambda item: len(item[1]))
    assert most[:3] == [f"{local}@example.com", f"{local}2@example.com", f"{local}3@example.com"]
