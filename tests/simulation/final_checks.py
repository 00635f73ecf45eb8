"""Judges what is left: after each run its report, after the world the record of it, and whether it came to rest.

Invariant: only the disk, the server's own effects and the roster are asked. Neighbours: `oracles` judge the moment.
"""

import collections
import itertools

from tests.simulation import audit, expected_state, fake_journal
from worker.core.model.desired import Mode
from worker.core.model.identifiers import IntentKey
from worker.core.model.outcomes import Applied, Refused
from worker.core.model.plan import Action, Change
from worker.core.model.report import Report


def reported(seen: audit.Audit, held: audit.RecordedState, run: audit.Run, finished: Report) -> None:
    """Judge whether a run's report says what is so."""
    seen.counts[f"verdict {finished.error.code if finished.error else finished.result}"] += 1
    kept_back = finished.guarded.held if finished.guarded else ()
    seen.counts.update({f"hold {each.guard}" for each in kept_back})
    for result in finished.results:
        seen.counts[f"outcome {result.outcome.name}"] += 1
        pair = (str(result.change.driver), str(result.change.fleet))
        done = _present(held, pair) is (result.change.action is Action.ATTACH)
        if result.done and not done and not seen.meddled(pair, run.began):
            seen.violated("report", f"{run.name} says that {_named(result.change)} is done, and it is not")


def recorded(seen: audit.Audit, kept: fake_journal.Storage) -> None:
    """Judge whether everything that the server did is in the journal, once, with its outcome."""
    effects: dict[str, list[audit.Effect]] = collections.defaultdict(list)
    for effect in seen.effects:
        effects[effect.key or ""].append(effect)
    for key, group in effects.items():
        entry = kept.entries.get(IntentKey(key))
        if entry is None:
            seen.violated("record", f"an effect under the key {key!r} is not in the journal")
        else:
            _once(seen, entry, [effect for effect in group if effect.changed])
    for entry in kept.entries.values():
        seen.counts["intents settled by a later reading"] += "later reading" in getattr(entry.outcome, "message", "")
        if entry.open:
            seen.violated("record", f"{entry.intent.key} is still open in the end")
        elif entry.intent.key not in effects and _claims(seen, entry):
            seen.violated("record", f"{entry.intent.key} is recorded as applied, and the server knows nothing of it")


def _once(seen: audit.Audit, entry: fake_journal.Entry, changed: list[audit.Effect]) -> None:
    """Judge whether a write took effect once, and has its outcome."""
    for earlier, later in itertools.pairwise(changed):
        if not seen.meddled(later.pair, earlier.order):
            seen.violated("rule 5", f"{_named(entry.intent.change)} took effect twice under {entry.intent.key}")
    if changed:
        _settled(seen, entry, changed[-1])


def _claims(seen: audit.Audit, entry: fake_journal.Entry) -> bool:
    """Tell whether an entry says that its write was made, though it could know that nobody made it."""
    pair = (str(entry.intent.change.driver), str(entry.intent.change.fleet))
    applied = entry.outcome if isinstance(entry.outcome, Applied) else None
    return applied is not None and "later reading" not in applied.message and not seen.foreign.get(pair)


def _settled(seen: audit.Audit, entry: fake_journal.Entry, effect: audit.Effect) -> None:
    """Judge whether an effect has the outcome that it should have."""
    if isinstance(entry.outcome, Applied) or seen.meddled(effect.pair, effect.order):
        return
    if isinstance(entry.outcome, Refused) and entry.outcome.code == "driver_not_found":
        return  # the server says that there is no such driver: nobody can settle it
    name = entry.outcome.name if entry.outcome else "open"
    seen.violated("record", f"{_named(entry.intent.change)} took effect under {effect.key} and is recorded as {name}")


def moved(seen: audit.Audit, kept: fake_journal.Storage, runs: dict[str, audit.Run]) -> None:
    """Judge whether anybody who was wanted somewhere was left in no fleet, or turned to and fro within a run."""
    turned: dict[tuple[str, expected_state.Pair], set[str]] = collections.defaultdict(set)
    for effect in seen.effects:
        entry = kept.entries.get(IntentKey(effect.key or ""))
        if entry is None or not effect.changed:
            continue
        run = runs[entry.run]
        turned[entry.run, effect.pair].add(effect.action)
        if effect.action == "attach" or effect.left or run.deceived:
            continue
        driver = effect.pair[0]
        others = any(seen.meddled((driver, fleet), run.began) for fleet in _fleets(seen, driver))
        if not others and run.truths and all(_wanted(driver, wishes) for wishes in run.truths):
            seen.violated("rule 3", f"{audit.short(driver)} was left in no fleet in {entry.run}, and is wanted")
    for (name, pair), actions in turned.items():
        if len(actions) > 1:
            seen.violated("rule 9", f"{name} attached and detached {audit.short(pair[0])} {audit.short(pair[1])}")


def at_rest(
    seen: audit.Audit,
    held: audit.RecordedState,
    wishes: expected_state.Expected,
    finished: Report,
    *,
    allowed: set[str],
) -> None:
    """Judge whether a quiet run left everything as it is wanted; errors of the kinds `allowed` end a run rightly."""
    if finished.error is not None:
        if finished.error.code not in allowed:
            seen.violated("convergence", f"a quiet run fails: {finished.error.code}: {finished.error.message}")
        return
    troubled = {str(result.change.driver) for result in finished.results if result.outcome.name == "refused"}
    for result in finished.results:
        if not result.done and str(result.change.driver) not in troubled:
            seen.violated("convergence", f"a quiet run ends with {_named(result.change)} {result.outcome.name}")
    guarded = finished.guarded
    excused = {(str(each.change.driver), str(each.change.fleet)) for each in guarded.held} if guarded else set()
    for pair in sorted(_astray(held, wishes) - excused):
        if pair[0] not in troubled:
            word = "is missing from" if pair in wishes.wanted else "is still in"
            seen.violated("convergence", f"{audit.short(pair[0])} {word} {audit.short(pair[1])} in the end")


def idle(seen: audit.Audit, first: Report, second: Report) -> None:
    """Judge whether a second quiet run wrote nothing, but for what was refused before.

    What was held may be let go: limits are shares of what a fleet has, and the first run's attaches made that more.
    """
    refused = {result.change.driver for result in first.results if result.outcome.name == "refused"}
    held = {each.change for each in first.guarded.held} if first.guarded else set()
    for result in second.results:
        if result.change.driver not in refused and result.change not in held:
            seen.violated("rule 9", f"a second quiet run plans {_named(result.change)}")


def _astray(held: audit.RecordedState, wishes: expected_state.Expected) -> set[expected_state.Pair]:
    """Give every membership that ought to be there and is not, or is there and ought not to be."""
    astray = {pair for pair in wishes.wanted if not _present(held, pair)}
    for fleet, mode in wishes.modes.items():
        if mode is Mode.EXACT and fleet not in wishes.unclear:
            here = {(driver, fleet) for driver in held.members(fleet) if driver not in wishes.waiting}
            astray |= here - wishes.wanted
    return astray


def _present(held: audit.RecordedState, pair: expected_state.Pair) -> bool:
    return pair[0] in held.drivers and pair[1] in held.fleets_of(pair[0])


def _fleets(seen: audit.Audit, driver: str) -> set[str]:
    return {fleet for who, fleet in seen.toggles if who == driver}


def _wanted(driver: str, wishes: expected_state.Expected) -> bool:
    return any(who == driver for who, _ in wishes.wanted)


def _named(change: Change) -> str:
    return f"{change.action} {audit.short(change.driver)} {audit.short(change.fleet)}"
