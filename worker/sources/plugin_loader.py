"""Loads the plugins that the settings name.

Invariant: nothing of a distribution is imported unless it is named, nor looked up: `importlib.metadata` takes longer
than settings without plugins. Neighbours: `plugin` is what plugins use, `settings.loader` reads their keys.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping

from worker.sources import plugin


class PluginError(Exception):
    """A distribution that cannot be used as a plugin. The message says why, for the operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """A kind of source that an installed distribution offers. Nothing of it has been imported."""

    kind: str
    distribution: str
    version: str


def offers() -> Iterator[Offer]:
    """Yield what is installed, sorted by kind."""
    from importlib import metadata

    for entry in sorted(metadata.entry_points(group=plugin.GROUP), key=lambda entry: entry.name):
        if entry.dist:
            yield Offer(entry.name, entry.dist.name, entry.dist.version)


def normalized(distribution: str) -> str:
    """Return a distribution's name as names are compared: without regard to case, dots, hyphens and underscores."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def load(distribution: str, *, taken: Collection[str]) -> Mapping[str, plugin.AnyKind]:
    """Import the kinds of a distribution by their names, none of which may be `taken`. Raises PluginError."""
    from importlib import metadata

    try:
        entries = metadata.distribution(distribution).entry_points.select(group=plugin.GROUP)
    except (metadata.PackageNotFoundError, ValueError):
        raise PluginError(f'"{distribution}" is not installed: install it beside fleet-sync') from None
    kinds = {}
    for entry in entries:
        if entry.name in taken:
            raise PluginError(f'"{distribution}" adds the kind "{entry.name}", which exists already')
        try:
            kind = entry.load()
        except (ImportError, AttributeError, SyntaxError) as error:
            raise PluginError(f'"{distribution}" cannot be loaded ({error})') from None
        if not isinstance(kind, plugin.Kind):
            raise PluginError(f'"{distribution}" cannot be used: {entry.value} is not a worker.sources.plugin.Kind')
        kinds[entry.name] = kind
    if not kinds:
        raise PluginError(f'"{distribution}" adds no kind of source: it has no entry point in {plugin.GROUP}')
    return kinds
