"""Makes the sources that the settings name.

Invariant: every kind in the settings has its place here. Neighbours: `composition` calls this,
`settings.source_sections` has the keys, and `worker.sources` one module for each kind.
"""

from collections.abc import Mapping

from worker.settings import model, source_sections
from worker.sources import completeness, document_reader, document_source, fetching, file_source, row_mapping


def create(settings: model.Settings) -> list[document_source.DocumentSource]:
    """Return the sources in their order. Connects to nothing."""
    return [
        document_source.DocumentSource(
            source.kind, source.title, _fetcher(source, settings), _options(source), source.poll_seconds
        )
        for source in settings.sources
    ]


def _fetcher(source: source_sections.Source, settings: model.Settings) -> fetching.Fetcher:
    checks = source.completeness
    selection = file_source.Selection(
        include=source.include,
        exclude=source.exclude,
        any_suffix=source.format != "auto",
        manifest=checks.manifest if checks else "",
        settle_seconds=source.settle_seconds,
    )
    return file_source.FileFetcher(settings.resolve_path(source.path), source.path, selection)


def _options(source: source_sections.DocumentSource) -> document_reader.DocumentOptions:
    checks = source.completeness
    return document_reader.DocumentOptions(
        format=source.format,
        delimiter=source.delimiter,
        encoding=source.encoding,
        rows=None if source.rows is None else _row_mapping(source.rows, source.fleets or {}),
        checks=None
        if checks is None
        else completeness.Completeness(checks.manifest, checks.trailer, checks.min_rows, checks.max_age_hours),
    )


def _row_mapping(rows: source_sections.Rows, fleets: Mapping[str, str]) -> row_mapping.RowMapping:
    return row_mapping.RowMapping(
        driver=rows.driver,
        fleet=rows.fleet,
        starts=rows.starts,
        ends=rows.ends,
        note=rows.note,
        date_format=rows.date_format,
        keep=rows.keep,
        drop=rows.drop,
        other_fleets=rows.other_fleets,
        fleets=fleets,
    )
