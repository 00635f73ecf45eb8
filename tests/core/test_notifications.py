"""Notifications: each state once, in text that cannot be misused."""

import dataclasses
import json

import pytest

from tests.core.notifiable import (
    ANN,
    BOB,
    CARS,
    DETACH,
    FINE,
    IDLE,
    IN,
    NOON,
    OUT,
    VANS,
    after,
    held,
    kinds,
    mark_failed,
    only,
    refused,
)
from tests.support import doubles
from worker.core.model.errors import ProcessSuspended, ReadingError, SourceError, Stopped
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.outcomes import Applied, ChangeResult, Deferred, Unknown
from worker.core.model.plan import Change, GuardedPlan
from worker.core.model.problem import Problem, ProblemCode
from worker.core.model.source_history import ShrunkSource
from worker.core.monitoring import notifications, status
from worker.core.safety import guard


def test_where_all_is_well_no_one_is_notified() -> None:
    assert kinds(IDLE, FINE, after(ChangeResult(IN, Applied(1)))) == [[], [], []]


def test_what_is_held_is_reported_once_until_it_is_another_plan() -> None:
    one, other = after(guarded=held(OUT)), after(guarded=held(OUT, IN))
    assert kinds(one, one, other, one, other, FINE, one) == [["held"], [], ["held"], [], [], ["recovered"], ["held"]]


def test_a_run_without_a_plan_says_nothing_of_what_is_held() -> None:
    failed = after(planned=False, error=Stopped("ended", exit_code=143))
    one = after(guarded=held(OUT))
    assert kinds(one, failed, one, IDLE, one) == [["held"], [], [], [], []]


def test_refusals_are_reported_when_there_are_more_of_them() -> None:
    one, both, other = after(refused(OUT)), after(refused(OUT), refused(IN)), after(refused(IN))
    assert kinds(one, one, both, one, other, FINE) == [["refused"], [], ["refused"], [], ["refused"], ["recovered"]]


def test_a_refusal_that_waits_for_its_next_try_is_the_same_refusal() -> None:
    waits = after(ChangeResult(OUT, Deferred(0, "refused_before", "later")))
    assert kinds(after(refused(OUT)), waits, after(refused(OUT)), waits) == [["refused"], [], [], []]
    assert kinds(waits) == [["refused"]]


@pytest.mark.parametrize(
    "unsettled",
    [
        after(error=Stopped("ended", exit_code=143)),
        after(ChangeResult(OUT, Deferred(0, "attach_first", "waits"))),
        after(ChangeResult(OUT, Unknown(1, "timeout", "no answer"))),
        after(planned=False, error=ProcessSuspended("stood still")),
    ],
)
def test_a_refusal_that_a_run_did_not_settle_is_neither_over_nor_new(unsettled: status.Status) -> None:
    assert kinds(after(refused(OUT)), unsettled, after(refused(OUT))) == [["refused"], [], []]


def test_a_part_that_breaks_is_reported_once_and_so_is_its_recovery() -> None:
    source = dataclasses.replace(FINE, broken=(mark_failed(status.Part.SOURCE),))
    both = dataclasses.replace(
        FINE, broken=(mark_failed(status.Part.KEY), mark_failed(status.Part.SOURCE, "another reason"))
    )
    assert kinds(source, source, both, source, FINE, source) == [
        ["broken"],
        [],
        ["broken"],
        ["recovered"],
        ["recovered"],
        ["broken"],
    ]


def test_a_run_that_fails_for_no_broken_part_is_reported_too() -> None:
    """For example, too many unresolved references, day after day."""
    failed = after(planned=False, error=ReadingError("too many", code="too_many_unresolved"))
    running = dataclasses.replace(failed, running=status.Running(RunId("run_2"), "interval", NOON))
    stopped = after(planned=False, error=Stopped("ended", exit_code=143))
    assert kinds(failed, running, failed, stopped, FINE) == [["broken"], [], [], [], ["recovered"]]
    assert kinds(running) == [[]]
    (item,) = only(failed).body["items"]
    assert item["part"] == "run" and item["code"] == "too_many_unresolved"


def test_a_failed_run_whose_reason_is_known_is_reported_once() -> None:
    failed = after(planned=False, error=SourceError([]), broken=(mark_failed(status.Part.SOURCE),))
    assert kinds(failed, FINE) == [["broken"], ["recovered"]]


def test_a_held_plan_is_reported_with_what_to_do() -> None:
    present = dataclasses.replace(
        after(guarded=held(OUT, Change(DETACH, BOB, VANS))), fleets=(status.Fleet(VANS, "Paris vans"),)
    )
    told = only(present)
    assert present.last is not None
    assert told.text == (
        "fleet-sync, live account: held.\n"
        "2 detaches held until you decide.\n"
        "Paris vans: 2 (max_detach_fraction)\n"
        f"To allow exactly this: fleet-sync approve {present.last.held_digest}. If it is wrong, correct the source."
    )


def test_of_several_accounts_each_is_named_with_the_command_for_it() -> None:
    present = dataclasses.replace(after(guarded=held(OUT)), account_name="acme")
    told = only(present)
    assert present.last is not None
    assert told.text.startswith("fleet-sync, live account acme: held.\n")
    assert f"fleet-sync --account acme approve {present.last.held_digest}" in told.text
    assert told.body["account"] == {"base_url": "https://charge.test/v1", "mode": "live", "name": "acme"}


def test_without_a_known_mode_the_name_is_enough() -> None:
    unknown = dataclasses.replace(IDLE, account=Account("https://charge.test/v1", "unknown"))
    broken = dataclasses.replace(unknown, broken=(mark_failed(status.Part.JOURNAL),))
    assert only(broken).text.startswith("fleet-sync: broken.\n")
    assert only(dataclasses.replace(broken, account_name="acme")).text.startswith("fleet-sync, account acme: broken.\n")


def test_a_frozen_change_is_reported_with_the_driver_and_what_happened() -> None:
    """The digest to approve is not the remedy: whoever reverts the change has to be found."""
    frozen = after(guarded=held(Change(DETACH, BOB, VANS), by=guard.FLAPPING))
    told = only(dataclasses.replace(frozen, driver_names={BOB: "Bob"}))
    assert "\ndetach Bob: too many\n" in told.text


def test_what_froze_several_changes_is_reported_once() -> None:
    changes = [Change(DETACH, DriverId(f"drv_{number}"), VANS) for number in range(7)]
    told = only(after(guarded=held(*changes, by="not_converging")))
    listed = "; ".join(f"detach drv_{number}" for number in range(5))
    assert f"\n{listed}; … and 2 more: too many\n" in told.text


def test_a_reading_that_cannot_be_right_is_not_offered_for_approval() -> None:
    told = only(after(guarded=held(OUT, by=guard.MUST_SEE)))
    assert "approve" not in told.text
    assert "an approval does not help" in told.text


def test_a_broken_part_is_reported_with_its_remedy() -> None:
    assert only(dataclasses.replace(IDLE, broken=(mark_failed(status.Part.JOURNAL),))).text == (
        "fleet-sync, live account: broken.\n"
        "The journal cannot be written; no changes are made. Since 2026-12-01 12:00 UTC: it is gone (gone)\n"
        "Bring it back."
    )


def test_refused_changes_are_reported_the_new_ones_first() -> None:
    _, told = notifications.diff(after(refused(OUT)), notifications.NotificationState())
    present = dataclasses.replace(after(refused(OUT), refused(IN, "404: gone")), driver_names={BOB: "Bob"})
    found = only(present, told)
    assert found.text.splitlines()[1:3] == [
        "2 changes refused by Charge, 1 of them new.",
        f"attach Bob, {CARS}: 404: gone",
    ]
    assert [item["driver"] for item in found.body["items"]] == [BOB, ANN]


def test_a_part_that_works_again_is_reported_in_its_own_words() -> None:
    told = notifications.NotificationState(
        held=frozenset({"sha256:d0"}), broken=frozenset({"charge"}), refused=frozenset({OUT.order})
    )
    found = only(FINE, told)
    assert found.text.splitlines()[1:] == [
        "Charge replies again.",
        "No changes are held any more.",
        "Charge no longer refuses any change.",
    ]
    assert found.body["items"] == [{"part": "charge"}, {"part": "held"}, {"part": "refused"}]


def test_every_part_has_its_words() -> None:
    for part in status.Part:
        present = dataclasses.replace(FINE, broken=(mark_failed(part),))
        (found,), told = notifications.diff(present, notifications.NotificationState())
        assert "it is gone" in found.text
        assert only(FINE, told).kind is notifications.Kind.RECOVERED


def test_the_document_says_how_things_are() -> None:
    told = only(after(refused(IN), guarded=held(OUT)), notifications.NotificationState(refused=frozenset({IN.order})))
    assert json.loads(json.dumps(told.body)) == {
        "text": told.text,
        "kind": "held",
        "account": {"base_url": "https://charge.test/v1", "mode": "live"},
        "run": "run_1",
        "result": "partial",
        "digest": held(OUT).held_digest,
        "held": 1,
        "refused": 1,
        "items": [
            {
                "action": "detach",
                "driver": ANN,
                "fleet": VANS,
                "origin": None,
                "guard": "max_detach_fraction",
                "message": "too many",
            }
        ],
        "at": "2026-12-01T12:00:00.000Z",
    }


def test_before_the_first_run_the_document_says_so() -> None:
    found = only(dataclasses.replace(IDLE, broken=(mark_failed(status.Part.KEY),)))
    assert (found.body["run"], found.body["result"], found.body["digest"], found.body["held"]) == (None, None, None, 0)


def test_a_large_plan_makes_a_small_notice() -> None:
    changes = [Change(DETACH, DriverId(f"drv_{number:032}"), FleetId(f"flt_{number:032}")) for number in range(1000)]
    found = only(after(guarded=held(*changes)))
    assert (found.body["held"], len(found.body["items"])) == (1000, notifications.MOST_ITEMS)
    assert "… and 995 more" in found.text
    assert len(json.dumps(found.body)) < 20_000
    many = "\n".join(f"membership.yaml:{line}:1: wrong" for line in range(9999))
    found = only(dataclasses.replace(IDLE, broken=(mark_failed(status.Part.SOURCE, many),)))
    assert len(json.dumps(found.body)) < 4_000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<https://evil.example|Vans>", "&lt;https://evil.example|Vans&gt;"),
        ("a & b", "a &amp; b"),
        ("@channel @here", "@\u200bchannel @\u200bhere"),
        ("ann@example.com", "ann@example.com"),
        ("Vans\nfleet-sync: approved\r\n", "Vans fleet-sync: approved"),
        ("\u202eVans\u2028\x00\x1b[0m", "Vans [0m"),
        ("V" * 99, "V" * 79 + "…"),
        ("V" * 80, "V" * 80),
        ("&" * 99, "&amp;" * 79 + "…"),
    ],
)
def test_a_name_means_nothing_but_itself(name: str, shown: str) -> None:
    present = dataclasses.replace(after(guarded=held(OUT)), fleets=(status.Fleet(VANS, name),))
    assert only(present).text.splitlines()[2] == f"{shown}: 1 (max_detach_fraction)"


def test_a_message_cannot_smuggle_a_mention_in_either() -> None:
    for present in (
        after(refused(OUT, "409: <!here>\n@all")),
        dataclasses.replace(IDLE, broken=(mark_failed(status.Part.SOURCE, "<!here>\n@all"),)),
        dataclasses.replace(after(refused(OUT)), driver_names={ANN: "<!here>\n@all"}),
    ):
        assert "&lt;!here&gt; @\u200ball" in only(present).text
        assert "<" not in only(present).text


def test_a_key_that_stands_in_a_document_goes_no_further() -> None:
    present = dataclasses.replace(
        IDLE, broken=(mark_failed(status.Part.SOURCE, "a.yaml:1:1: 'ch_sk_live_Sesame' is none"),)
    )
    assert "Sesame" not in json.dumps(only(present).body)
    present = dataclasses.replace(after(guarded=held(OUT)), fleets=(status.Fleet(VANS, "ch_sk_live_Sesame"),))
    assert "Sesame" not in json.dumps(only(present).body)


def test_a_source_that_shrank_is_reported_with_its_digest_and_ends() -> None:
    shrunk = (ShrunkSource("hr", 50, 100, "source hr has 50 rows instead of 100"),)
    plan = dataclasses.replace(doubles.guarded(()), shrunk=shrunk)
    told = only(after(guarded=plan))
    assert told.text == (
        "fleet-sync, live account: held.\n"
        "source hr has 50 rows instead of 100\n"
        f"To allow exactly this: fleet-sync approve {plan.held_digest}. If it is wrong, correct the source."
    )
    assert (told.body["digest"], told.body["held"]) == (plan.held_digest, 0)
    assert told.body["items"] == [
        {
            "guard": "source_shrank",
            "source": "hr",
            "rows": 50,
            "baseline": 100,
            "message": "source hr has 50 rows instead of 100",
        }
    ]
    assert kinds(after(guarded=plan), after(guarded=plan), FINE) == [["held"], [], ["recovered"]]


# --- Fleets that vanished from the sources ----------------------------------------------------------------


def without(*fleets: FleetId) -> GuardedPlan:
    problems = tuple(Problem(each, "no source names <it> any more", code=ProblemCode.SCOPE_SHRANK) for each in fleets)
    other = Problem("a.yaml:1:1", "no driver has it", code=ProblemCode.UNRESOLVED_DRIVER)
    return dataclasses.replace(doubles.guarded(()), problems=(*problems, other), unsettled=True)


def test_a_fleet_that_vanished_is_notified_once_and_its_return_once() -> None:
    (first,), state = notifications.diff(after(guarded=without(VANS)), notifications.NotificationState())
    assert first.kind == "broken"
    assert f"1 fleet that was managed is in no source any more; no driver is detached there.\n{VANS}: " in first.text
    assert "no source names &lt;it&gt; any more" in first.text
    assert "add it to `unmanaged`" in first.text
    assert first.body["items"] == [
        {"part": "scope", "fleet": VANS, "code": "scope_shrank", "message": "no source names <it> any more"}
    ]
    again, state = notifications.diff(after(guarded=without(VANS)), state)
    failed, state = notifications.diff(after(error=SourceError([]), planned=False), state)
    assert (again, [each.kind for each in failed]) == ((), ["broken"])
    (more, recovered), state = notifications.diff(after(guarded=without(VANS, CARS)), state)
    assert "2 fleets that were managed are in no source" in more.text
    assert recovered.body["items"] == [{"part": "run"}]
    fewer, state = notifications.diff(after(guarded=without(CARS)), state)
    assert fewer == ()
    (over,), state = notifications.diff(after(), state)
    assert (over.kind, over.body["items"]) == ("recovered", [{"part": "scope"}])
    assert "Every fleet is in a source again, or was taken out on purpose." in over.text
    assert state == notifications.NotificationState()


@pytest.mark.parametrize(("number", "more"), [(5, []), (6, ["… and 1 more"])])
def test_as_many_lines_as_fit_are_shown(number: int, more: list[str]) -> None:
    changes = [Change(DETACH, ANN, FleetId(f"flt_{place}")) for place in range(number)]
    lines = only(after(guarded=held(*changes))).text.splitlines()
    assert lines[2:-1] == [f"flt_{place}: 1 (max_detach_fraction)" for place in range(5)] + more


def test_a_run_that_failed_is_reported_once_although_it_is_interrupted_or_running_again_later() -> None:
    failed = after(planned=False, error=ReadingError("too many", code="too_many_unresolved"))
    stopped = after(planned=False, error=Stopped("ended", exit_code=143))
    running = dataclasses.replace(failed, running=status.Running(RunId("run_2"), "interval", NOON))
    assert kinds(stopped, failed, stopped, running, FINE) == [[], ["broken"], [], [], ["recovered"]]


def test_a_part_that_breaks_after_a_failed_run_was_reported_is_reported_too_and_ends_by_itself() -> None:
    error = ReadingError("too many", code="too_many_unresolved")
    both = after(planned=False, error=error, broken=(mark_failed(status.Part.KEY),))
    assert kinds(after(planned=False, error=error), both, FINE) == [["broken"], ["broken"], ["recovered"]]
