"""Pauses as values, and what people are told about them."""

import datetime

from tests.core import worlds
from tests.core.worlds import DEPOT, VANS, A, B
from worker.core.model import pauses
from worker.core.model.pauses import Pause
from worker.core.model.plan import Action, Change

NOW = worlds.NOW
HOUR = datetime.timedelta(hours=1)
CHANGES = (Change(Action.ATTACH, A, VANS), Change(Action.DETACH, B, DEPOT))
EVERYWHERE, VANS_ONLY = Pause(NOW), Pause(NOW, NOW + HOUR, "Emma\x1b", "new\nlists", VANS)


def test_a_pause_ends_at_its_time_or_never() -> None:
    assert EVERYWHERE.is_active(NOW + 1000 * HOUR)
    assert VANS_ONLY.is_active(NOW)
    assert not VANS_ONLY.is_active(NOW + HOUR)


def test_a_pause_covers_one_fleet_or_all() -> None:
    assert pauses.left_out(CHANGES, [EVERYWHERE]) == frozenset(CHANGES)
    assert pauses.left_out(CHANGES, [VANS_ONLY]) == {CHANGES[0]}
    assert pauses.left_out(CHANGES, []) == frozenset()
    assert pauses.everywhere([VANS_ONLY, EVERYWHERE]) is EVERYWHERE
    assert pauses.everywhere([VANS_ONLY]) is None


def test_a_pause_says_who_and_why_in_harmless_text() -> None:
    assert [str(note) for note in pauses.notes([EVERYWHERE, VANS_ONLY])] == [
        "pause: all fleets are paused since 2026-10-05 08:00 UTC, until resumed",
        f"{VANS}: paused since 2026-10-05 08:00 UTC by Emma\ufffd, until 2026-10-05 09:00 UTC: new lists",
    ]
    assert all(note.note for note in pauses.notes([EVERYWHERE, VANS_ONLY]))
