"""Watching real files: what they say counts, however it got there.

Where `poll_seconds` is an hour the test passes only if the file system's events are heard.
"""

import asyncio
import contextlib
import functools
import logging
import os
import pathlib
import shutil
import sys
import threading
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest
import structlog

from worker.sources import file_watcher, positions

pytestmark = pytest.mark.anyio

A, B, C = "fleets: {a: [x@y]}", "fleets: {a: [x@z]}", "fleets: {b: [x@y]}"
HOUR = 3600.0
DEADLINE = 20.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run on real time: the file system knows no other."""
    return str(request.param)


class Told:
    """Counts what it was told, and waits for the next time."""

    def __init__(self) -> None:
        self.times = 0
        self._event = anyio.Event()

    def changed(self) -> None:
        self.times += 1
        self._event.set()

    async def once_more(self) -> None:
        with anyio.fail_after(DEADLINE):
            await self._event.wait()
        self._event = anyio.Event()


@contextlib.asynccontextmanager
async def watched(*paths: pathlib.Path, poll: float = HOUR) -> AsyncIterator[Told]:
    told = Told()
    watch = functools.partial(file_watcher.watch, paths, changed=told.changed, settle_seconds=0.02, poll_seconds=poll)
    async with anyio.create_task_group() as tasks:
        await tasks.start(watch)
        yield told
        began = anyio.current_time()
        tasks.cancel_scope.cancel()
    assert anyio.current_time() - began < 5


def replace(path: pathlib.Path, text: str) -> None:
    """Write elsewhere, and rename into place."""
    path.with_name(".new").write_text(text)
    path.with_name(".new").replace(path)


def generation(mount: pathlib.Path, name: str, **contents: str) -> None:
    """Put a generation of a ConfigMap into place, as the kubelet does."""
    (mount / name).mkdir()
    for file, text in contents.items():
        (mount / name / file.replace("_", ".")).write_text(text)
    (mount / "..data_tmp").symlink_to(name)
    (mount / "..data_tmp").replace(mount / "..data")


async def test_an_edit_in_place_is_seen(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(A)
    async with watched(path) as told:
        for text in (B, C, A):
            path.write_text(text)
            await told.once_more()


async def test_a_replaced_file_is_seen_each_time(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(A)
    async with watched(path) as told:
        for text in (B, C, A):
            replace(path, text)
            await told.once_more()


@pytest.mark.parametrize("source", ["a.yaml", "."])
async def test_the_generations_of_a_config_map_are_seen(source: str, tmp_path: pathlib.Path) -> None:
    generation(tmp_path, "..2026_1", a_yaml=A)
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    async with watched(tmp_path / source) as told:
        for number, text in enumerate((B, C, A), start=2):
            generation(tmp_path, f"..2026_{number}", a_yaml=text)
            await told.once_more()
            shutil.rmtree(tmp_path / f"..2026_{number - 1}")


async def test_a_checkout_that_is_swapped_by_its_link_is_seen(tmp_path: pathlib.Path) -> None:
    """The way of git-sync: `current` leads to one of several work trees."""
    for name, text in (("one", A), ("two", B)):
        (tmp_path / "trees" / name / "fleets").mkdir(parents=True)
        (tmp_path / "trees" / name / "fleets" / "a.yaml").write_text(text)
    (tmp_path / "current").symlink_to("trees/one")
    async with watched(tmp_path / "current" / "fleets" / "a.yaml") as told:
        for name in ("two", "one"):
            (tmp_path / "next").symlink_to(f"trees/{name}")
            (tmp_path / "next").replace(tmp_path / "current")
            await told.once_more()


async def test_a_file_behind_a_link_is_seen_to_be_edited(tmp_path: pathlib.Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "b.yaml").write_text(A)
    (tmp_path / "a.yaml").symlink_to(tmp_path / "far" / "b.yaml")
    async with watched(tmp_path / "a.yaml") as told:
        (tmp_path / "far" / "b.yaml").write_text(B)
        await told.once_more()


async def test_a_document_that_comes_or_goes_in_a_folder_is_seen(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.yaml").write_text(A)
    async with watched(tmp_path) as told:
        (tmp_path / "b.yaml").write_text(B)
        await told.once_more()
        (tmp_path / "a.yaml").unlink()
        await told.once_more()


async def test_a_source_that_vanishes_is_told_once_and_so_is_its_return(tmp_path: pathlib.Path) -> None:
    path, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    path.write_text(A)
    async with watched(path, other) as told:
        path.unlink()
        await told.once_more()
        for text in (A, B):  # each of these makes it look at the vanished one too
            other.write_text(text)
            await told.once_more()
        path.write_text(A)
        await told.once_more()
        assert told.times == 4


async def test_a_folder_that_is_deleted_and_made_again_is_watched_again(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "etc" / "a.yaml"
    path.parent.mkdir()
    path.write_text(A)
    async with watched(path) as told:
        for _ in range(2):
            shutil.rmtree(path.parent)
            await told.once_more()
            path.parent.mkdir()
            path.write_text(A)
            await told.once_more()
        path.write_text(B)
        await told.once_more()


async def test_a_folder_that_does_not_exist_yet_is_waited_for(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "not" / "yet" / "a.yaml"
    async with watched(path) as told:
        path.parent.mkdir(parents=True)
        path.write_text(A)
        await told.once_more()
        path.write_text(B)
        await told.once_more()


async def test_what_no_event_tells_of_is_found_by_polling(tmp_path: pathlib.Path) -> None:
    """A hard link in another folder is written to: the events are of that folder."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    path = tmp_path / "here" / "a.yaml"
    path.write_text(A)
    (tmp_path / "there" / "a").hardlink_to(path)
    async with watched(path, poll=0.1) as told:
        for text in (B, C):
            (tmp_path / "there" / "a").write_text(text)
            await told.once_more()


async def test_where_watching_fails_polling_goes_on_and_says_so_once(tmp_path: pathlib.Path) -> None:
    """The watcher gives up at a name that is not UTF-8."""
    path = tmp_path / "a.yaml"
    path.write_text(A)
    with structlog.testing.capture_logs() as lines:
        async with watched(path, poll=0.3) as told:
            for number, text in enumerate((B, C, A, B, C, A)):
                (tmp_path / os.fsdecode(b"\xff%d" % number)).touch()
                path.write_text(text)
                await told.once_more()
    assert [line["event"] for line in lines] == ["watching_failed"]


async def test_a_restless_neighbour_keeps_nothing_from_being_seen(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(A)

    async def write_the_journal() -> None:
        while True:
            (tmp_path / "fleet-sync.db-wal").write_text(A)
            await anyio.sleep(0.001)

    async with watched(path) as told, anyio.create_task_group() as tasks:
        tasks.start_soon(write_the_journal)
        path.write_text(B)
        await told.once_more()
        assert told.times == 1
        tasks.cancel_scope.cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems show their watches elsewhere")
async def test_cancelling_leaves_no_watch_open(tmp_path: pathlib.Path) -> None:
    def watches() -> int:
        return sum("inotify" in os.path.realpath(each) for each in pathlib.Path("/proc/self/fd").iterdir())

    before = watches()
    path = tmp_path / "a.yaml"
    path.write_text(A)
    async with watched(path) as told:
        path.write_text(B)
        await told.once_more()
        assert watches() > before
    with anyio.fail_after(DEADLINE):
        while watches() > before:  # the watcher's own thread closes it, a moment later
            await anyio.lowlevel.checkpoint()


def test_a_process_that_watches_ends_when_it_is_told_to(tmp_path: pathlib.Path) -> None:
    """Also by the loop's own cancellation, of which anyio's scopes know nothing."""

    async def watch() -> None:
        task = asyncio.ensure_future(file_watcher.watch([tmp_path], changed=lambda: None))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    before = threading.active_count()
    asyncio.run(asyncio.wait_for(watch(), DEADLINE))
    assert threading.active_count() <= before


async def test_watchfiles_says_nothing_itself(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(A)
    with caplog.at_level(logging.DEBUG):
        async with watched(path) as told:
            path.write_text(B)
            await told.once_more()
    assert [record for record in caplog.records if record.name.startswith("watchfiles")] == []


class TestRevision:
    def test_it_is_what_the_file_says_and_nothing_else(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text(A)
        before = file_watcher.revision(path)
        os.utime(path, (0, 0))
        (tmp_path / "unrelated").write_text(B)
        replace(path, A)
        assert file_watcher.revision(path) == before
        path.write_text(B)
        assert file_watcher.revision(path) != before

    def test_of_a_folder_it_is_all_that_is_not_hidden(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a.yaml").write_text(A)
        seen = [file_watcher.revision(tmp_path)]
        (tmp_path / ".a.yaml.swp").write_text(A)
        assert file_watcher.revision(tmp_path) == seen[0]
        (tmp_path / "b.txt").write_text(A)
        seen.append(file_watcher.revision(tmp_path))
        (tmp_path / "b.txt").rename(tmp_path / "c.txt")
        seen.append(file_watcher.revision(tmp_path))
        (tmp_path / "c.txt").unlink()
        (tmp_path / "c.txt").mkdir()
        seen.append(file_watcher.revision(tmp_path))
        (tmp_path / "a.yaml").write_text(B)
        seen.append(file_watcher.revision(tmp_path))
        assert len(set(seen)) == len(seen)

    def test_what_is_no_file_is_never_opened(self, tmp_path: pathlib.Path) -> None:
        os.mkfifo(tmp_path / "a.yaml")
        assert file_watcher.revision(tmp_path / "a.yaml") == "no file"
        assert file_watcher.revision(tmp_path).startswith("folder ")

    def test_what_cannot_be_read_is_so_every_time(self, tmp_path: pathlib.Path) -> None:
        for path in (tmp_path / "none", tmp_path / "none" / "a", pathlib.Path("\0"), tmp_path / ("a" * 300)):
            assert file_watcher.revision(path).startswith("unreadable ")
            assert file_watcher.revision(path) == file_watcher.revision(path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_what_may_not_be_read_is_no_document(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a.yaml").write_text(A)
        seen = {file_watcher.revision(tmp_path)}
        (tmp_path / "a.yaml").chmod(0)
        seen |= {file_watcher.revision(tmp_path), file_watcher.revision(tmp_path / "a.yaml")}
        tmp_path.chmod(0)
        seen.add(file_watcher.revision(tmp_path))
        tmp_path.chmod(0o700)
        assert len(seen) == 4

    def test_a_file_counts_as_far_as_it_is_ever_read(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "a.yaml"
        with path.open("wb") as file:
            file.truncate(positions.LIMIT + 2)
        assert file_watcher.revision(path) == file_watcher.revision(path)
        before = file_watcher.revision(path)
        with path.open("r+b") as file:
            file.seek(positions.LIMIT + 1)
            file.write(b"x")
        assert file_watcher.revision(path) == before


def test_links_that_lead_in_circles_end(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert file_watcher.revision(tmp_path / "a").startswith("unreadable ")

    async def watch() -> None:
        async with watched(tmp_path / "a") as told:
            (tmp_path / "a").unlink()
            (tmp_path / "a").write_text(A)
            await told.once_more()

    anyio.run(watch)
