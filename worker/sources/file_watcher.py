"""Notices that a source may say something else than before.

Invariant: what counts is what the files say, never that something stirred: the file system's events only tell when
to look, and where they are missing (network file systems, no more inotify watches) a look at intervals is the net.
Neighbours: `files` reads the sources; whoever is told reads them anew, whole.

watchfiles is given folders, not files: a file that is replaced by renaming, or reached through links that are, would
be lost from sight. Its own log is switched off here: it has a line for everything that stirs.
"""

import contextlib
import hashlib
import logging
import os
import pathlib
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence

import anyio
import structlog
from anyio import abc, to_thread

from worker.sources import positions

log = structlog.get_logger()

_PATIENCE = 10
"""So many times the settling time a folder may be restless before it is looked at all the same."""

_STEP_MS = 100
"""How often the watching thread looks whether it is to end."""

_GATHER_MS = 1000

_FAILURES = 3
"""In a row. Fewer are passed over: a folder may just have been on the move."""

_MOST_LINKS = 40
_CHUNK = 1 << 20

_Folders = Mapping[pathlib.Path, tuple[int, int]]


async def watch(
    paths: Sequence[pathlib.Path],
    *,
    changed: Callable[[], None],
    settle_seconds: float = 0.5,
    poll_seconds: float = 30.0,
    task_status: abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Call `changed` whenever one of the sources says something else than when it was last looked at; never end.

    It is looked at when its folders have been quiet for `settle_seconds`, and every `poll_seconds` anyway. A source
    that cannot be read any more has changed too, once. It is compared with what it said when the task status was
    started: start this before the first reading.
    """
    seen = await _looked(paths)
    bell = _Bell()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen, paths, bell, settle_seconds, poll_seconds)
        task_status.started()
        while True:
            await bell.quiet(settle=settle_seconds, longest=poll_seconds)
            now = await _looked(paths)
            if now != seen:
                seen = now
                changed()


def revision(path: pathlib.Path) -> str:
    """Tell apart what a source says at different times: the hash of its files, or why there is none.

    In a folder everything counts that is not hidden, for a file that is no document spoils the reading.
    """
    try:
        if not path.is_dir():
            return _content(path)
        found = sorted(each for each in path.iterdir() if not each.name.startswith("."))
    except (OSError, ValueError) as error:
        return f"unreadable {error}"
    listed = hashlib.sha256()
    for each in found:
        listed.update(os.fsencode(each.name) + b"\0" + _content(each).encode() + b"\n")
    return f"folder {listed.hexdigest()}"


def _content(path: pathlib.Path) -> str:
    """Hash a file, as far as it is ever read; of what is no file, say so."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "no file"
        hashed, left = hashlib.sha256(), positions.LIMIT + 1
        with path.open("rb") as file:
            while left and (chunk := file.read(min(left, _CHUNK))):
                hashed.update(chunk)
                left -= len(chunk)
    except (OSError, ValueError) as error:
        return f"unreadable {error}"
    return hashed.hexdigest()


async def _looked(paths: Sequence[pathlib.Path]) -> list[str]:
    """Look at all sources, beside the event loop: a document may be large, and a file system slow."""
    return await to_thread.run_sync(lambda: [revision(path) for path in paths], abandon_on_cancel=True)


class _Bell:
    """Rings when something stirred."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def quiet(self, *, settle: float, longest: float) -> None:
        """Wait until it rang and then was quiet for a while; or until the longest time has passed without it."""
        with anyio.move_on_after(longest):
            await self._rung.wait()
        with anyio.move_on_after(settle * _PATIENCE):
            while self._rung.is_set():
                self._rung = anyio.Event()
                with anyio.move_on_after(settle):
                    await self._rung.wait()


async def _listen(paths: Sequence[pathlib.Path], bell: _Bell, settle: float, poll: float) -> None:
    """Ring the bell whenever something stirs in the folders, whichever they are at the time."""
    failed = 0
    while True:
        began = anyio.current_time()
        failure = await _listen_in(await _folders(paths), paths, bell)
        bell.ring()
        failed = (0 if anyio.current_time() - began > poll else failed) + 1 if failure else 0
        if failed == _FAILURES:
            log.warning("watching_failed", error=failure, poll_seconds=poll)
        await anyio.sleep(min(poll, settle * 2.0 ** min(failed, 32)))


async def _listen_in(folders: _Folders, paths: Sequence[pathlib.Path], bell: _Bell) -> str:
    """Ring the bell for these folders until they are others, or watching fails; give the reason then."""
    import watchfiles

    logging.getLogger("watchfiles").setLevel(logging.CRITICAL + 1)
    stop, failures = anyio.Event(), list[str]()
    stirred = watchfiles.awatch(
        *folders,
        watch_filter=None,
        debounce=_GATHER_MS,
        step=_STEP_MS,
        stop_event=stop,
        yield_on_timeout=True,
        debug=False,
        force_polling=False,
        recursive=False,
    )
    async with anyio.create_task_group() as tasks, contextlib.aclosing(stirred):
        tasks.start_soon(_set_when_cancelled, stop)
        bell.ring()  # what stirred before this began is not lost
        try:
            async for events in stirred:
                if events:
                    bell.ring()
                gone = any(pathlib.Path(path) in folders for _, path in events)  # an inode may be given out again
                if gone or await _folders(paths) != folders:
                    break
        except* (OSError, RuntimeError) as group:
            failures.extend(str(error) for error in _leaves(group))
        tasks.cancel_scope.cancel()
    return "; ".join(failures)


async def _set_when_cancelled(stop: anyio.Event) -> None:
    """Have the watching thread end: it is not seen by a cancellation, which would wait for it."""
    try:
        await anyio.sleep_forever()
    finally:
        stop.set()


async def _folders(paths: Sequence[pathlib.Path]) -> _Folders:
    """Give the folders in which the sources can change, each with what tells it from a later one of that name."""
    return await to_thread.run_sync(lambda: dict(_identified(paths)), abandon_on_cancel=True)


def _identified(paths: Sequence[pathlib.Path]) -> Iterator[tuple[pathlib.Path, tuple[int, int]]]:
    for folder in sorted({folder for path in paths for folder in _places(path.absolute())}):
        for present in (folder, *folder.parents):  # the nearest that exists sees the next one come
            with contextlib.suppress(OSError, ValueError):
                found = present.stat()
                if stat.S_ISDIR(found.st_mode):
                    yield present, (found.st_dev, found.st_ino)
                    break


def _places(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Find the folder of a source, itself where it is one, and those of all links on the way to it."""
    ways, followed = [path], 0
    while ways and followed < _MOST_LINKS:
        way = ways.pop()
        yield way.parent
        for part in (way, *way.parents):
            with contextlib.suppress(OSError, ValueError):
                target = part.readlink()
                yield part.parent
                ways.append(part.parent / target / way.relative_to(part))
                followed += 1
    with contextlib.suppress(OSError, ValueError):
        if path.is_dir():
            yield path


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
