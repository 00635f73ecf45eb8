"""Closes what an earlier life left open, by what a reading shows now.

Invariant: an intent is closed only by what was seen; one whose driver was not read stays open.
Neighbours: `ports.Journal` keeps the intents, `engine.cycle` reads before it plans.
"""

from collections.abc import Iterable, Iterator

from worker.core import outcomes, ports, values


def settle(
    open_intents: Iterable[ports.OpenIntent], actual: values.Actual
) -> Iterator[tuple[values.IntentKey, outcomes.Outcome]]:
    """Give each intent whose driver the reading showed, or showed to be absent, its outcome.

    How often the earlier life sent it is not known: one attempt is counted where it took effect, none where not.
    """
    for each in open_intents:
        change = each.intent.change
        fleets = actual.memberships.get(change.driver)
        if fleets is not None and change.done_in(fleets):
            yield each.intent.key, outcomes.Applied(1, message="found done after the run was cut off")
        elif fleets is not None:
            yield each.intent.key, outcomes.Deferred(0, "cut_off", "found not done after the run was cut off")
        elif change.driver in actual.absent:
            yield each.intent.key, outcomes.Refused(0, "driver_not_found", "the driver no longer exists")


def unread(open_intents: Iterable[ports.OpenIntent], actual: values.Actual) -> frozenset[values.DriverId]:
    """Give the drivers that have to be retrieved before everything can be closed."""
    drivers = {each.intent.change.driver for each in open_intents}
    return frozenset(drivers - actual.memberships.keys() - actual.absent)
