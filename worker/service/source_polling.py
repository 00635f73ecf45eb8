"""Notice that a source may have changed, by asking each source for its revision every two seconds.

Invariant: a change is reported once the sources have been quiet for a moment, but never later than `_MAX_LOOKS` looks
after it was seen. Neighbours: `scheduler` starts a run then, which reads the sources; `ports.Source.peek` says what a
revision means.
"""

from collections.abc import Callable, Sequence

import anyio
from anyio import abc

from worker.core.model.errors import SourceError
from worker.core.model.ports import Source

POLL_SECONDS = 2.0
"""Between two looks at all sources."""

_QUIET_SECONDS = 0.5
"""How long a changed source must stay the same: a document that is written in place is probably complete then."""

_MAX_LOOKS = 10

_State = Sequence[tuple[Source, str | None]]


async def poll(
    sources: Callable[[], Sequence[Source]],
    *,
    changed: Callable[[], None],
    task_status: abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Call `changed` whenever a source differs from when the last look was taken; never return.

    A source that cannot be examined has changed too, once. Sources without a cheap revision never change here.
    `sources` is asked each time, because settings can be reloaded. Start this before the first reading: the first
    look is taken before the task status is started.
    """
    seen = await _look(sources())
    task_status.started()
    while True:
        await anyio.sleep(POLL_SECONDS)
        state = await _look(sources())
        if state != seen:
            seen = await _wait_until_quiet(sources, state)
            changed()


async def _wait_until_quiet(sources: Callable[[], Sequence[Source]], state: _State) -> _State:
    for _ in range(_MAX_LOOKS):
        await anyio.sleep(_QUIET_SECONDS)
        before, state = state, await _look(sources())
        if state == before:
            break
    return state


async def _look(sources: Sequence[Source]) -> _State:
    """Return the revision of each source, or the reason why it has none."""
    return [(source, await _revision(source)) for source in sources]


async def _revision(source: Source) -> str | None:
    try:
        return await source.peek()
    except SourceError as error:
        return f"cannot be examined: {error}"
