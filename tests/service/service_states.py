"""The state of a service as tests of it make it: on a clock of its own, after runs that end well or badly."""

import datetime

from tests.support import doubles
from worker.core.model.errors import (
    FleetSyncError,
)
from worker.core.model.identifiers import RunId
from worker.core.model.report import Report
from worker.core.monitoring import status
from worker.service import state

NOON = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
Part = status.Part


class Clock:
    """A clock that advances a second each time it is read."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime.datetime:
        self.time += datetime.timedelta(seconds=1)
        return self.time

    def uptime(self) -> float:
        return self.time.timestamp()

    cpu_time = uptime


def ended(service_state: state.ServiceState, error: FleetSyncError | None = None) -> None:
    """Begin and end a run, with an error or in sync."""
    guarded = None if error else doubles.guarded([])
    service_state.begin(RunId("run_1"), trigger="interval")
    finished = Report(RunId("run_1"), NOON, NOON, guarded, error=error)
    service_state.end(finished)


def broken(service_state: state.ServiceState) -> set[Part]:
    return {each.part for each in service_state.broken}
