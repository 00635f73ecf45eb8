"""The description of notifications in docs/operations.md matches what is sent."""

import dataclasses
import json

from tests.docs import pages
from tests.support import clocks, doubles
from worker.core.model.identifiers import Account, DriverId, FleetId, RunId
from worker.core.model.plan import Action, Change, HeldChange
from worker.core.model.report import Report
from worker.core.monitoring import notifications, status
from worker.core.safety import guard
from worker.notifications import webhook

SECTION = pages.page("docs/operations.md").section("## Notifications")
CHANGE = Change(Action.DETACH, DriverId(f"drv_{'a' * 32}"), FleetId(f"flt_{'v' * 32}"))


def test_a_notification_has_the_documented_shape() -> None:
    guarded = dataclasses.replace(doubles.guarded(()), held=(HeldChange(CHANGE, guard.PER_FLEET, "7 of 23 …"),))
    last = Report(RunId("run_1"), clocks.NOON, clocks.NOON, guarded)
    account = Account("https://charge.test/v1", "live")
    present = status.Status(clocks.NOON, clocks.NOON, "0", account, 1.0, 1.0, last=last)
    ((made,), _) = notifications.diff(present, notifications.NotificationState())
    (block,) = SECTION.blocks("json")
    shown = json.loads(block.text)
    assert list(shown) == list(made.body)
    assert list(shown["account"]) == list(made.body["account"])
    assert [list(item) for item in shown["items"]] == [list(item) for item in made.body["items"]]
    assert shown["text"].splitlines()[0] == made.text.splitlines()[0]


def test_every_kind_is_explained() -> None:
    assert {row[0].strip("`") for row in SECTION.rows()} == {kind.value for kind in notifications.Kind}


def test_the_documented_limits_are_the_real_ones() -> None:
    text = " ".join(SECTION.text.split())
    first, second, third = (f"{pause:g}" for pause in webhook.RETRY_DELAYS)
    for words in (
        f"within {webhook.DEADLINE_SECONDS:g} seconds",
        f"after {first}, {second} and {third} seconds",
        f"At most {webhook.MAX_QUEUED} notifications",
        f"has {webhook.SHUTDOWN_SECONDS:g} seconds",
        f"the first {notifications.MOST_ITEMS}:",
    ):
        assert words in text
