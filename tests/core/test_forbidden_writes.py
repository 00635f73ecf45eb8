"""What answers of 403 to writes mean: one driver, one fleet, or the key."""

from tests.core.worlds import DEPOT, VANS
from worker.core.model.identifiers import FleetId
from worker.core.safety.forbidden_writes import MAX_IN_A_ROW, ForbiddenWrites


def _forbidden(*fleets: FleetId, of: frozenset[FleetId] = frozenset({VANS, DEPOT})) -> ForbiddenWrites:
    answers = ForbiddenWrites(of)
    for fleet in fleets:
        answers.fail(fleet, forbidden=True)
    return answers


def test_a_few_answers_are_about_their_drivers() -> None:
    answers = _forbidden(*[VANS] * (MAX_IN_A_ROW - 1))
    assert not answers.blame_fleet(VANS)
    answers.fail(VANS, forbidden=False)
    answers.fail(VANS, forbidden=True)
    assert not answers.blame_fleet(VANS)
    assert not answers.blame_key


def test_many_answers_of_one_fleet_are_about_that_fleet_if_the_run_changes_another() -> None:
    answers = _forbidden(*[VANS] * MAX_IN_A_ROW)
    assert answers.blame_fleet(VANS)
    assert not (answers.blame_key or answers.blame_fleet(DEPOT))
    answers.fail(DEPOT, forbidden=True)
    assert answers.blame_key


def test_many_answers_are_about_the_key_if_no_other_fleet_can_show_that_it_may_write() -> None:
    assert _forbidden(*[VANS] * MAX_IN_A_ROW, of=frozenset({VANS})).blame_key
    assert _forbidden(*[VANS] * MAX_IN_A_ROW, of=frozenset()).blame_key


def test_what_was_accepted_once_is_not_forbidden_as_a_whole() -> None:
    answers = _forbidden()
    answers.accept(DEPOT)
    for fleet in [VANS, DEPOT] * MAX_IN_A_ROW:
        answers.fail(fleet, forbidden=True)
    assert answers.blame_fleet(VANS)
    assert not (answers.blame_key or answers.blame_fleet(DEPOT))
