"""A suite of tests for the authors of plugins: what fleet-sync relies on in every kind of source.

Subclass `SourceContract` in a test module, set `kind`, and write the fixture `origin`, which yields an `Origin`. Needs
pytest, which fleet-sync itself does not use. The built-in kinds pass these tests too.

Invariant: a source is whole or an error, whatever happens on the way. Neighbours: `plugin` is what plugins use.
"""

import abc
import contextlib
import pathlib
import ssl
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import anyio
import pytest
from structlog import testing

from worker.core.model.desired import SourceReading
from worker.core.model.errors import SourceError
from worker.core.model.ports import Source
from worker.sources import document_source, plugin

Memberships = Mapping[str, Sequence[str]]
"""The drivers of each fleet."""

ONE: Memberships = {"Paris": ["alice@example.com", "bob@example.com"], "Lyon": ["carol@example.com"]}
OTHER: Memberships = {"Paris": ["alice@example.com"], "Lyon": ["carol@example.com", "bob@example.com"]}


class Origin(abc.ABC):
    """Imitates the place where the documents come from."""

    keys: Mapping[str, Any]
    """The keys of the source, as in the settings file, without `kind`."""

    secrets: Collection[str] = ()
    """Texts that must not appear in any error, log or repr."""

    cuts: int = 0
    """The number of places at which a delivery can be cut."""

    @abc.abstractmethod
    async def publish(self, memberships: Memberships) -> None:
        """From now on, deliver exactly these memberships; without any fleet, an empty source."""

    @abc.abstractmethod
    async def cut(self, place: int) -> None:
        """From now on, cut every delivery at this place, from 0 to `cuts` - 1. Each cut must lose something."""

    @abc.abstractmethod
    async def stall(self) -> None:
        """From now on, begin every delivery and never end it."""


class SourceContract:
    """The tests. Each uses the fixture `origin`, which must yield an `Origin`."""

    kind: ClassVar[plugin.AnyKind]

    cancel_seconds: ClassVar[float] = 1.0
    """How long a call may take to end when it is cancelled."""

    unknown_keys_error: ClassVar[type[Exception]] = ValueError
    """What `source` raises for keys that the kind does not have."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Use asyncio, as the program does."""
        return "asyncio"

    def source(self, keys: Mapping[str, Any], folder: pathlib.Path) -> Source:
        """Return a source with these keys."""
        context = plugin.Context("contract", folder, "fleet-sync/contract", ssl.create_default_context)
        fetcher = self.kind.create(self.kind.settings.model_validate(keys), context)
        return document_source.DocumentSource("contract", "contract", fetcher)

    @pytest.fixture
    def reading(self, origin: Origin, tmp_path: pathlib.Path) -> Source:
        """Return the source of the origin."""
        return self.source(origin.keys, tmp_path)

    @pytest.mark.anyio
    async def test_a_whole_source_is_read(self, origin: Origin, reading: Source) -> None:
        """Every fleet and every driver is there."""
        for memberships in (ONE, OTHER):
            await origin.publish(memberships)
            assert _memberships(await reading.read()) == {fleet: set(drivers) for fleet, drivers in memberships.items()}

    @pytest.mark.anyio
    async def test_it_is_whole_or_an_error_at_every_cut(self, origin: Origin, reading: Source) -> None:
        """Missing rows would look like people who left."""
        assert origin.cuts > 0
        for place in range(origin.cuts):
            await origin.publish(ONE)
            await origin.cut(place)
            with pytest.raises(SourceError):
                await reading.read()
        await origin.publish(ONE)
        assert len((await reading.read()).rows) == 3

    @pytest.mark.anyio
    async def test_the_same_content_has_the_same_revision(self, origin: Origin, reading: Source) -> None:
        """Other content has another revision, and earlier content has its earlier revision again."""
        revisions = []
        for memberships in (ONE, ONE, OTHER, ONE):
            await origin.publish(memberships)
            revisions.append((await reading.read()).source.revision)
        assert revisions[0] == revisions[1] == revisions[3] != revisions[2]

    @pytest.mark.anyio
    async def test_an_empty_source_is_an_error(self, origin: Origin, reading: Source) -> None:
        """An empty reading would detach everyone."""
        await origin.publish({})
        with pytest.raises(SourceError):
            await reading.read()

    @pytest.mark.anyio
    async def test_a_cancelled_call_ends_at_once(self, origin: Origin, reading: Source) -> None:
        """A service that stops must not wait for its sources."""
        await origin.publish(ONE)
        await origin.stall()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_endured, reading)
            with anyio.move_on_after(1):  # for ever if another task, such as a server's, wakes up just when it looks
                await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            cancelled = anyio.current_time()
        assert anyio.current_time() - cancelled < self.cancel_seconds

    @pytest.mark.anyio
    async def test_peeking_agrees_with_reading(self, origin: Origin, reading: Source) -> None:
        """The revision changes when the content does, and only then. None means that the source has no revision."""
        await origin.publish(ONE)
        await reading.read()
        before = await reading.peek()
        assert await reading.peek() == before
        await reading.read()
        assert await reading.peek() == before
        await origin.publish(OTHER)
        after = await reading.peek()
        assert (before is None and after is None) or before != after
        assert _memberships(await reading.read())["Paris"] == {"alice@example.com"}

    @pytest.mark.anyio
    async def test_no_secret_is_in_any_error_log_or_repr(
        self, origin: Origin, reading: Source, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Errors go into reports, notifications and pages."""
        shown = [repr(reading)]
        with testing.capture_logs() as events:
            for place in range(origin.cuts):
                await origin.publish(ONE)
                await origin.cut(place)
                for call in (reading.read, reading.peek):
                    try:
                        await call()
                    except SourceError as error:
                        shown += [str(error), repr(error), error.remedy, repr(error.__cause__)]
        captured = capfd.readouterr()
        shown += [repr(reading), str(events), caplog.text, captured.out, captured.err]
        assert not [secret for secret in origin.secrets if any(secret in text for text in shown)]

    def test_an_unknown_key_is_refused(self, origin: Origin, tmp_path: pathlib.Path) -> None:
        """A misspelled key would have no effect."""
        with pytest.raises(self.unknown_keys_error):
            self.source({**origin.keys, "no_such_key": 1}, tmp_path)


def _memberships(reading: SourceReading) -> dict[str, set[str]]:
    fleets: dict[str, set[str]] = {str(entry.fleet).strip('"'): set() for entry in reading.fleets}
    for row in reading.rows:
        fleets[str(row.fleet).strip('"')].add(str(row.driver))
    return fleets


async def _endured(reading: Source) -> None:
    """Read until cancelled. A source that notices that nothing comes may also raise its error."""
    with contextlib.suppress(SourceError):
        await reading.read()
