"""The real `fleet-sync worker` processes of a storm, and what the nemesis does to them.

Invariant: no process outlives the block, stopped or not. Neighbours: `nemesis` plans, `scenario` plays.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator

from tests.storm import nemesis
from tests.support import command

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used: CPU in seconds, and resident memory in MiB."""

    cpu: float
    memory: float


class Worker:
    """One of the workers, through all of its processes."""

    def __init__(self, number: int, folder: pathlib.Path) -> None:
        """Take the folder of the cluster; nothing runs yet.

        `away` has its absences: from, to, and the process. `codes` are those of processes that were to end.
        """
        self.number = number
        self.codes: list[int] = []
        self.away: list[tuple[float, float, int]] = []
        self.log = folder / f"worker-{number}.log"
        self._folder = folder
        self._running: command.Running | None = None

    def start(self) -> None:
        """Start a process."""
        with self.log.open("a") as stream:
            self._running = command.start(
                "--config", str(self._folder), "worker", cwd=self._folder, stderr=stream.fileno(), fresh=True
            )

    @property
    def pid(self) -> int:
        """Return the process."""
        assert self._running is not None
        return self._running.process.pid

    def check(self) -> None:
        """Raise AssertionError if the process has ended by itself."""
        assert self._running is not None
        code = self._running.process.poll()
        assert code is None, f"worker {self.number} ended with {code}: {self.log.read_text()[-2000:]}"

    def suffer(self, event: nemesis.Event, pause: Callable[[float], None]) -> None:
        """Be stopped, ended or killed, and come back."""
        assert self._running is not None
        began, pid = time.time(), self.pid
        if event.blow is nemesis.Blow.STOP:
            self._running.signal(signal.SIGSTOP)
            pause(event.seconds)
            ended = time.time()
            self._running.signal(signal.SIGCONT)
        elif event.blow is nemesis.Blow.END:
            self.codes.append(self.end())
            self.start()
            return  # it has released what it had
        else:
            self._running.reap()
            pause(event.seconds)
            ended = float("inf")  # this process never comes back
            self.start()
        self.away.append((began, ended, pid))

    def usage(self) -> Usage:
        """Return what the present process has used."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return Usage((int(stat[11]) + int(stat[12])) / TICKS, int(stat[21]) * PAGE / 2**20)

    def end(self) -> int:
        """Let the process end by SIGTERM, and return its exit code."""
        assert self._running is not None
        self._running.signal(signal.SIGTERM)
        return self._running.end().code

    def reap(self) -> None:
        """Kill the process if there is one."""
        if self._running is not None:
            self._running.reap()


@contextlib.contextmanager
def started(count: int, folder: pathlib.Path) -> Iterator[list[Worker]]:
    """Run so many workers for the duration of the block."""
    workers = [Worker(number, folder) for number in range(count)]
    try:
        for worker in workers:
            worker.start()
        yield workers
    finally:
        for worker in workers:
            worker.reap()
