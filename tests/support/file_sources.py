"""Sources of files, as the settings make them."""

import pathlib
import time
from collections.abc import Callable

from worker.sources import document_reader, document_source, file_source


def of(
    path: pathlib.Path,
    name: str,
    options: document_reader.DocumentOptions | None = None,
    *,
    now: Callable[[], float] = time.time,
) -> document_source.DocumentSource:
    """Return the source of a file or folder, with the selection that its options imply."""
    options = options or document_reader.DocumentOptions()
    manifest = options.checks.manifest if options.checks else ""
    selection = file_source.Selection(any_suffix=options.format != "auto", manifest=manifest)
    fetcher = file_source.FileFetcher(path, name, selection, now)
    return document_source.DocumentSource("file", name, fetcher, options, now=now)
