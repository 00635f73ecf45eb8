"""What a run knows of one driver, and what follows from it."""

from tests.core.worlds import DEPOT, NORTH, VANS, A
from worker.core.model.plan import Action, Change, ConcernedDriver
from worker.core.safety import driver_state


def state(*, seen: set[str], wanted: set[str], excused: set[str] = frozenset()) -> driver_state.DriverState:  # type: ignore[assignment]
    concerned = ConcernedDriver(frozenset(seen), frozenset(wanted))  # type: ignore[arg-type]
    return driver_state.DriverState(concerned, excused=excused)  # type: ignore[arg-type]


def test_a_wanted_membership_that_a_reading_showed_and_a_reply_no_longer_shows_is_repaired_once() -> None:
    driver = state(seen={VANS, DEPOT}, wanted={DEPOT})
    driver.add_reply(frozenset({VANS}))
    assert (driver.missing, driver.in_wanted_fleet) == ([DEPOT], False)
    assert driver.take_lost() == [DEPOT]
    assert driver.take_lost() == []
    assert driver.missing == [DEPOT]


def test_a_membership_that_no_reading_showed_is_missing_but_not_repaired() -> None:
    driver = state(seen={VANS}, wanted={DEPOT})
    driver.add_reply(frozenset({VANS, DEPOT}))
    assert driver.missing == []
    driver.add_reply(frozenset({VANS}))
    assert (driver.missing, driver.take_lost()) == ([DEPOT], [])
    driver.add_reading(frozenset({VANS, DEPOT}))
    assert driver.missing == []
    driver.add_reading(frozenset({VANS}))
    assert driver.take_lost() == [DEPOT]


def test_an_attach_that_is_held_or_was_not_made_is_neither_missing_nor_repaired() -> None:
    driver = state(seen={VANS}, wanted={DEPOT, NORTH}, excused={DEPOT})
    assert driver.missing == [NORTH]
    driver.excuse(NORTH)
    assert (driver.missing, driver.take_lost()) == ([], [])


def _known(driver: driver_state.DriverState) -> tuple[bool, bool]:
    return driver.is_current, driver.is_read


def test_before_a_reply_to_a_write_nothing_is_known() -> None:
    driver = state(seen={VANS}, wanted={VANS})
    assert _known(driver) == (True, True)
    driver.mark_written()
    assert _known(driver) == (False, False)
    driver.add_reply(frozenset({VANS}))
    assert _known(driver) == (True, False)
    driver.add_reading(frozenset({VANS}))
    assert _known(driver) == (True, True)
    assert driver.shows(Change(Action.ATTACH, A, VANS))
    assert driver.shows(Change(Action.DETACH, A, DEPOT))


def test_a_deleted_driver_is_in_no_fleet_and_not_repaired() -> None:
    driver = state(seen={VANS}, wanted={VANS})
    driver.mark_deleted()
    assert not driver.exists
    assert (driver.missing, driver.take_lost()) == ([VANS], [])


def test_that_a_driver_is_deleted_is_known_by_a_reading() -> None:
    driver = state(seen={VANS}, wanted={VANS})
    driver.mark_written()
    driver.mark_deleted()
    assert _known(driver) == (True, True)
    assert not driver.in_wanted_fleet


def test_what_is_lost_without_being_wanted_or_while_it_is_excused_is_not_repaired() -> None:
    driver = state(seen={VANS, DEPOT, NORTH}, wanted={DEPOT, NORTH}, excused={NORTH})
    assert driver.exists
    driver.add_reading(frozenset({DEPOT}))
    assert driver.take_lost() == []
    driver.add_reading(frozenset())
    assert driver.take_lost() == [DEPOT], "that nothing was lost before is no repair"
