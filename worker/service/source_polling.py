"""Notices that a source may have changed, by asking each for its revision every `poll_seconds`.

Invariant: a change is reported once the source has been quiet for a moment, but at most `_MAX_POLLS` polls after it was
seen. Neighbours: `scheduler` starts a run then, which reads the sources; `ports.Source.peek` says what a revision
means.
"""

import functools
from collections.abc import Callable, Sequence

import anyio
from anyio import abc

from worker.core.model.errors import SourceError
from worker.core.model.ports import Source

_RELOAD_SECONDS = 2.0
"""Between two checks whether the settings name other sources."""

_QUIET_SECONDS = 0.5
"""How long a changed source must stay the same: a document that is written in place is probably complete then."""

_MAX_POLLS = 10


async def poll(
    sources: Callable[[], Sequence[Source]],
    *,
    changed: Callable[[], None],
    task_status: abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Call `changed` whenever a source differs from when it was last polled; never return.

    A source that cannot be examined has changed too, once. Sources without a cheap revision never change here.
    `sources` is asked each time, because settings can be reloaded; other sources are a change. Start this before the
    first reading: every source is polled once before the task status is started.
    """
    while True:
        present = list(sources())
        async with anyio.create_task_group() as tasks:
            await _poll_all_once(present, tasks, changed)
            task_status.started()
            task_status = anyio.TASK_STATUS_IGNORED
            while True:
                await anyio.sleep(_RELOAD_SECONDS)
                if list(sources()) != present:
                    break
            tasks.cancel_scope.cancel()
        changed()


async def _poll_all_once(present: Sequence[Source], tasks: abc.TaskGroup, changed: Callable[[], None]) -> None:
    """Poll all sources at once, so that a slow one does not delay the others; then watch each in a task."""
    async with anyio.create_task_group() as polls:
        for source in present:
            polls.start_soon(tasks.start, functools.partial(_watch, source, changed))


async def _watch(source: Source, changed: Callable[[], None], *, task_status: abc.TaskStatus[None]) -> None:
    seen = await _revision(source, None)
    task_status.started()
    while True:
        await anyio.sleep(source.poll_seconds)
        revision = await _revision(source, seen)
        if revision != seen:
            seen = await _wait_until_quiet(source, revision)
            changed()


async def _wait_until_quiet(source: Source, revision: str | None) -> str | None:
    for _ in range(_MAX_POLLS):
        await anyio.sleep(_QUIET_SECONDS)
        before, revision = revision, await _revision(source, revision)
        if revision == before:
            break
    return revision


async def _revision(source: Source, before: str | None) -> str | None:
    """Return the revision of a source, or the reason why it has none. While it is being written, nothing changes."""
    try:
        return await source.peek()
    except SourceError as error:
        return before if error.code == "source_changed" else f"cannot be examined: {error}"
