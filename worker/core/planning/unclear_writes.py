"""Decides what a run does about writes of earlier runs whose effect is still unclear.

Invariants: an unclear write is sent again by one later run only, under its own key and its own approval; after that it
stays unknown until it can no longer take effect. While a detach that nobody wants any more may still take effect, no
other detach of its driver is sent: both together could leave the driver in no fleet. Neighbours: `observation` closes
what a reading decides, `engine.plan_builder` applies this to the changes of a plan.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from worker.core.model.identifiers import DriverId
from worker.core.model.outcomes import NOT_CONVERGING, Deferred, Outcome, Unknown
from worker.core.model.plan import Action, Change
from worker.core.model.ports import OpenIntent
from worker.core.model.problem import Problem, ProblemCode

UNCLEAR = "unclear_write"
"""The code of a change that is not sent, because an earlier write of it may still take effect."""


@dataclasses.dataclass(frozen=True, slots=True)
class UnclearWrites:
    """The unclear writes that a plan meets.

    `resendable` may be sent again in this run. `waiting` are changes that must wait, with their outcome. `problems`
    name the unclear writes that the sources no longer want, or that are no longer needed. `repeated` are all open
    intents of changes that the plan has again.
    """

    resendable: Mapping[Change, OpenIntent]
    waiting: Mapping[Change, Outcome]
    problems: tuple[Problem, ...]
    repeated: tuple[OpenIntent, ...]

    def unless_sent(self, skipped: Mapping[Change, Outcome]) -> dict[Change, Outcome]:
        """Return the outcomes of changes that this run does not send: of those sent before, the effect is unknown."""
        return {
            change: _not_repeated(self.resendable[change], outcome) if change in self.resendable else outcome
            for change, outcome in skipped.items()
        }


NONE = UnclearWrites({}, {}, (), ())


def sort_out(open_intents: Iterable[OpenIntent], planned: Collection[Change]) -> UnclearWrites:
    """Compare the open intents of earlier runs with the changes that this run plans.

    A write that Charge accepted, but that no reading shows, is not unclear: its key is used up, and it backs off.
    """
    open_intents = tuple(open_intents)
    if not open_intents:
        return NONE
    planned = frozenset(planned)
    unclear = {each.intent.change: each for each in open_intents if each.code != NOT_CONVERGING}
    resent = {change: _outcome(each) for change, each in unclear.items() if change in planned and each.resent}
    return UnclearWrites(
        resendable={change: each for change, each in unclear.items() if change in planned and not each.resent},
        waiting=_dangerous_detaches(unclear, planned) | resent,
        problems=tuple(_problem(each) for change, each in unclear.items() if change not in planned),
        repeated=tuple(each for each in open_intents if each.intent.change in planned),
    )


def _dangerous_detaches(unclear: Mapping[Change, OpenIntent], planned: Collection[Change]) -> dict[Change, Outcome]:
    """Return the new detaches of drivers who may still lose another membership, which is wanted by now."""
    losing: dict[DriverId, OpenIntent] = {
        change.driver: each
        for change, each in unclear.items()
        if change.action is Action.DETACH and change not in planned
    }
    return {
        change: Deferred(0, UNCLEAR, _dangerous(losing[change.driver]))
        for change in planned
        if change.action is Action.DETACH and change.driver in losing and change not in unclear
    }


def _dangerous(each: OpenIntent) -> str:
    return (
        f"not sent: the detach from {each.intent.change.fleet} that {each.run} sent may still take effect,"
        " and the driver must stay in a fleet"
    )


def _outcome(each: OpenIntent) -> Unknown:
    message = f"not sent: the attempt of {each.run} and its repetition may still take effect"
    return Unknown(each.attempts, UNCLEAR, message)


def _not_repeated(each: OpenIntent, outcome: Outcome) -> Outcome:
    if not isinstance(outcome, Deferred):
        return outcome
    message = f"{outcome.message}; the attempt of {each.run} may still take effect"
    return Unknown(max(1, each.attempts), outcome.code, message)


def _problem(each: OpenIntent) -> Problem:
    change = each.intent.change
    message = f"the {change.action} that {each.run} sent may still take effect"
    return Problem(f"{change.driver}/{change.fleet}", message, code=ProblemCode.UNCLEAR_WRITE)
