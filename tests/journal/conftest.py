"""Plans, changes and outcomes to be written down."""

import datetime

from worker.core import outcomes, ports, report, values

RUN = values.RunId("run_1")
CREATED = datetime.datetime(2026, 12, 1, 12, tzinfo=datetime.UTC)
VANS = values.FleetId("flt_" + "V" * 32)
ALICE = values.DriverId("drv_" + "A" * 32)
BOB = values.DriverId("drv_" + "B" * 32)
ATTACH = values.Change(values.Action.ATTACH, ALICE, VANS, values.Origin("membership.yaml", 4, 9))
DETACH = values.Change(values.Action.DETACH, BOB, VANS)


def key(number: int) -> values.IntentKey:
    """Make a key."""
    return values.IntentKey(f"fleet-sync-{number:032x}")


INTENTS = [ports.Intent(key(1), ATTACH), ports.Intent(key(2), DETACH)]


def judged(*changes: values.Change) -> values.Judged:
    """Make a judged plan."""
    return values.Judged(
        account=values.Account("https://charge.test/v1", "test"),
        created=CREATED,
        sources=(values.SourceRevision("file", "membership.yaml", "sha256:0"),),
        changes=changes,
        held=(),
        problems=(),
        in_sync=3,
        fleets=1,
        drivers=5,
        cost=values.Cost(2, 0.1),
        digest="sha256:1",
    )


def finished(run: values.RunId = RUN) -> report.Report:
    """Make the report of a run in which one change was made and one was not."""
    results = (
        outcomes.Result(ATTACH, outcomes.Applied(2, "req_1")),
        outcomes.Result(DETACH, outcomes.Refused(1, "policy_blocked", "Not allowed.", "req_2")),
    )
    return report.Report(
        run=run,
        started=CREATED,
        finished=CREATED + datetime.timedelta(seconds=5),
        judged=judged(ATTACH, DETACH),
        results=results,
        traffic=report.Traffic(reads=3, writes=2),
    )
