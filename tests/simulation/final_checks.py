"""Judges what is left: each report after its run, and the journal and the account at the end of a world.

Invariant: only the disk, the effects on the server and the account are asked. Neighbours: `oracles` judges each
request, `state_oracle` whole drivers.
"""

import collections
import itertools

from tests.simulation import audit, expected_state, journal_storage
from worker.core.model.desired import Mode
from worker.core.model.identifiers import FleetId, IntentKey
from worker.core.model.outcomes import NOT_CONVERGING, Already, Applied, Outcome, Refused, Unknown, is_refusal
from worker.core.model.plan import Action, Change
from worker.core.model.report import Report


def reported(seen: audit.Audit, account: audit.RecordedState, run: audit.Run, finished: Report) -> None:
    """Judge whether a run's report is true."""
    seen.counts[f"report {finished.error.code if finished.error else finished.result}"] += 1
    held = finished.guarded.held if finished.guarded else ()
    seen.counts.update({f"hold {each.guard}" for each in held})
    for result in finished.results:
        seen.counts[f"outcome {result.outcome.name}"] += 1
        pair = (str(result.change.driver), str(result.change.fleet))
        done = _present(account, pair) is (result.change.action is Action.ATTACH)
        latest = run.latest_after_writing(pair[0])
        # A run that cannot read back relies on the reply, and has not converged; one that was ended relies on any.
        known = [*([latest] if latest else []), *(run.replies[pair[0]] if finished.error else [])]
        shown = any(result.change.done_in(frozenset(map(FleetId, each.fleets))) for each in known)
        if (
            result.done
            and not done
            and not (shown and finished.result not in ("converged", "in_sync"))
            and pair[0] not in run.missing
            and not seen.changed_by_others(pair, run.began, host=run.host)
        ):
            seen.violated("report", f"{run.name} says that {_named(result.change)} is done, and it is not")


def recorded(seen: audit.Audit, host: str, storage: journal_storage.Storage) -> None:
    """Judge whether every effect of a host's writes is in its journal, once, with its outcome."""
    effects: dict[str, list[audit.Effect]] = collections.defaultdict(list)
    for effect in seen.effects:
        if audit.host_of(effect.key) == host:
            effects[effect.key or ""].append(effect)
    for key, group in effects.items():
        entry = storage.entries.get(IntentKey(key))
        if entry is None:
            seen.violated("record", f"an effect under the key {key!r} is not in the journal")
        else:
            _once(seen, entry, [effect for effect in group if effect.changed])
    for entry in storage.entries.values():
        settled_later = len(entry.outcomes) > 1 and isinstance(entry.outcomes[0], Unknown)
        seen.counts["intents settled by a later reading"] += settled_later
        if entry.open and not (entry.outcome and _backs_off(entry.outcome)):
            seen.violated("record", f"{entry.intent.key} is still open in the end")
        elif entry.intent.key not in effects and _claims(seen, entry) and not _was_so(seen, entry):
            seen.violated("record", f"{entry.intent.key} is recorded as applied, and the server did not do it")


def _once(seen: audit.Audit, entry: journal_storage.Entry, changed: list[audit.Effect]) -> None:
    """Judge whether a write took effect once and has its outcome."""
    for earlier, later in itertools.pairwise(changed):
        if not seen.changed_by_others(later.pair, earlier.order, host=audit.host_of(entry.intent.key)):
            seen.violated("rule 5", f"{_named(entry.intent.change)} took effect twice under {entry.intent.key}")
    if changed:
        _settled(seen, entry, changed[-1])


def _claims(seen: audit.Audit, entry: journal_storage.Entry) -> bool:
    """Return whether an entry claims a write that it could know was never made."""
    pair = (str(entry.intent.change.driver), str(entry.intent.change.fleet))
    applied = entry.outcome if isinstance(entry.outcome, Applied) else None
    by_others = seen.changed_by_others(pair, 0, host=audit.host_of(entry.intent.key))
    if pair not in seen.changes:
        return False  # it always was, or never: then `reported` finds the false claim
    return applied is not None and not by_others and not _same_by_another_key(seen, entry)


def _was_so(seen: audit.Audit, entry: journal_storage.Entry) -> bool:
    """Return whether a membership was as the entry says from the start until after the entry was settled."""
    pair = (str(entry.intent.change.driver), str(entry.intent.change.fleet))
    first = next((effect for effect in seen.effects if effect.pair == pair and effect.changed), None)
    return first is not None and first.action != entry.intent.change.action and entry.settled < first.order


def _same_by_another_key(seen: audit.Audit, entry: journal_storage.Entry) -> bool:
    """Return whether another write of ours made the same change, so that a reading shows this one as made."""
    change = entry.intent.change
    made = (change.action, (str(change.driver), str(change.fleet)))
    return any((effect.action, effect.pair) == made and effect.changed for effect in seen.effects)


def _settled(seen: audit.Audit, entry: journal_storage.Entry, effect: audit.Effect) -> None:
    """Judge whether an effect has the right outcome."""
    if isinstance(entry.outcome, Applied) or seen.changed(effect.pair, effect.order):
        return
    if isinstance(entry.outcome, Refused) and entry.outcome.code == "driver_not_found":
        return  # the server says that the driver does not exist, so that no reading can settle it
    if isinstance(entry.outcome, Already) and "no longer exists" in entry.outcome.message:
        return  # likewise
    name = entry.outcome.name if entry.outcome else "open"
    seen.violated("record", f"{_named(entry.intent.change)} took effect under {effect.key} and is recorded as {name}")


def moved(seen: audit.Audit, storage: journal_storage.Storage, runs: dict[str, audit.Run]) -> None:
    """Judge whether a run detached a wanted driver from the last fleet, or reversed its own change."""
    turned: dict[tuple[str, expected_state.Pair], set[str]] = collections.defaultdict(set)
    for effect in seen.effects:
        entry = storage.entries.get(IntentKey(effect.key or ""))
        if entry is None or not effect.changed:
            continue
        run = runs[entry.run]
        if not entry.repair:
            turned[entry.run, effect.pair].add(effect.action)
        if effect.action == "attach" or effect.left or run.deceived or len(entry.runs) > 1:
            continue  # a resent detach belongs to the run that sent it last, for which the oracles demand a proof
        driver = effect.pair[0]
        others = seen.driver_changed_by_others(driver, run.began, host=run.host)
        if not others and run.expectations and all(_wanted(driver, expected) for expected in run.expectations):
            seen.violated("rule 3", f"{audit.short(driver)} was left in no fleet in {entry.run}, and is wanted")
    for (name, pair), actions in turned.items():
        if len(actions) > 1:
            seen.violated("rule 9", f"{name} attached and detached {audit.short(pair[0])} {audit.short(pair[1])}")


def at_rest(
    seen: audit.Audit,
    account: audit.RecordedState,
    expected: expected_state.Expected,
    finished: Report,
    *,
    allowed: set[str],
) -> None:
    """Judge whether an undisturbed run left everything right. Errors with the codes `allowed` may end it."""
    if finished.error is not None:
        if finished.error.code not in allowed:
            seen.violated("convergence", f"an undisturbed run fails: {finished.error.code}: {finished.error.message}")
        return
    troubled = {str(result.change.driver) for result in finished.results if _refused(result.outcome)}
    for result in finished.results:
        if not result.done and str(result.change.driver) not in troubled:
            seen.violated("convergence", f"an undisturbed run ends with {_named(result.change)} {result.outcome.name}")
    guarded = finished.guarded
    excused = {(str(each.change.driver), str(each.change.fleet)) for each in guarded.held} if guarded else set()
    for pair in sorted(_astray(account, expected) - excused):
        if pair[0] not in troubled:
            word = "is missing from" if pair in expected.wanted else "is still in"
            seen.violated("convergence", f"{audit.short(pair[0])} {word} {audit.short(pair[1])} in the end")


def idle(seen: audit.Audit, first: Report, second: Report) -> None:
    """Judge whether a second undisturbed run plans nothing except what was refused before.

    A held change may be allowed now: limits are fractions of the members, and the first run's attaches added members.
    """
    refused = {result.change.driver for result in first.results if _refused(result.outcome)}
    held = {each.change for each in first.guarded.held} if first.guarded else set()
    for result in second.results:
        if result.change.driver not in refused and result.change not in held:
            seen.violated("rule 9", f"a second undisturbed run plans {_named(result.change)}")


def _astray(account: audit.RecordedState, expected: expected_state.Expected) -> set[expected_state.Pair]:
    """Return every membership that is wanted and missing, or present and not wanted."""
    astray = {pair for pair in expected.wanted if not _present(account, pair)}
    for fleet, mode in expected.modes.items():
        if mode is Mode.EXACT and fleet not in expected.unclear:
            here = {(driver, fleet) for driver in account.members(fleet) if driver not in expected.waiting}
            astray |= here - expected.wanted
    return astray


def _refused(outcome: Outcome) -> bool:
    return is_refusal(outcome) or _backs_off(outcome)


def _backs_off(outcome: Outcome) -> bool:
    """Return whether Charge refused the change, or accepted it and no reading shows it."""
    return isinstance(outcome, Refused) or (isinstance(outcome, Unknown) and outcome.code == NOT_CONVERGING)


def _present(account: audit.RecordedState, pair: expected_state.Pair) -> bool:
    return pair[0] in account.drivers and pair[1] in account.fleets_of(pair[0])


def _wanted(driver: str, expected: expected_state.Expected) -> bool:
    return any(who == driver for who, _ in expected.wanted)


def _named(change: Change) -> str:
    return f"{change.action} {audit.short(change.driver)} {audit.short(change.fleet)}"
