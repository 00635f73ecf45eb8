"""Makes the sources that the settings name.

Invariant: every kind in the settings has its place here. A kind's module is imported when a source needs it, so that
checking a file takes no HTTP client. Neighbours: `composition` calls this, `settings.source_kinds` has the keys, and
`worker.sources` one module for each kind.
"""

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import worker
from worker.settings import model, network_kinds, source_kinds, source_sections, time_zones
from worker.sources import completeness, document_reader, document_source, fetching, row_mapping

if TYPE_CHECKING:
    import ssl

    from worker.sources import git_source, object_source

_USER_AGENT = f"fleet-sync/{worker.__version__}"


def create(settings: model.Settings) -> list[document_source.DocumentSource]:
    """Return the sources in their order. Connects to nothing."""
    return [
        document_source.DocumentSource(
            source.kind,
            source.title,
            _fetcher(source, settings),
            _options(source, settings.sync.timezone),
            source.poll_seconds,
        )
        for source in settings.sources
    ]


def _fetcher(source: source_kinds.Source, settings: model.Settings) -> fetching.Fetcher:
    match source:
        case source_kinds.FileSource():
            return _file_fetcher(source, settings)
        case source_kinds.CommandSource():
            from worker.sources import command_source

            command = command_source.Command(
                source.run, settings.resolve_path("."), source.peek, source.timeout_seconds, source.env
            )
            return command_source.CommandFetcher(command, source.title)
        case source_kinds.SqlSource():
            from worker.sources import sql_source

            folder = settings.resolve_path(".")
            database = sql_source.Database(folder / source.url_file, folder, source.statement_timeout_seconds)
            return sql_source.SqlFetcher(database, source.query, source.revision_query, source.title)
        case source_kinds.PluginSource():
            from worker.service import network
            from worker.sources import plugin

            context = plugin.Context(source.title, settings.resolve_path("."), _USER_AGENT, network.ssl_context)
            return source.plugin_kind.create(source, context)
        case _:
            return _network_fetcher(source, settings)


def _network_fetcher(source: network_kinds.Source, settings: model.Settings) -> fetching.Fetcher:
    match source:
        case network_kinds.HttpSource():
            return _http_fetcher(source, settings)
        case network_kinds.SftpSource():
            return _sftp_fetcher(source, settings)
        case network_kinds.ObjectSource():
            from worker.sources import object_source

            return object_source.ObjectFetcher(_bucket(source, settings), source.title, _manifest(source))
        case network_kinds.GitSource():
            from worker.sources import git_source

            return git_source.GitFetcher(_repository(source, settings), source.title)


def _file_fetcher(source: source_kinds.FileSource, settings: model.Settings) -> fetching.Fetcher:
    from worker.sources import file_source

    selection = file_source.Selection(
        include=source.include,
        exclude=source.exclude,
        any_suffix=source.format != "auto",
        manifest=_manifest(source),
        settle_seconds=source.settle_seconds,
    )
    return file_source.FileFetcher(settings.resolve_path(source.path), source.path, selection)


def _http_fetcher(source: network_kinds.HttpSource, settings: model.Settings) -> fetching.Fetcher:
    from worker.sources import http_login, http_source

    login = http_login.Login(
        source.username,
        _path(settings, source.password_file),
        _path(settings, source.token_file),
        _path(settings, source.headers_file),
    )
    endpoint = http_source.Endpoint(
        source.url,
        http_source.connecting(_ssl_context(source, settings), proxy=source.proxy_url),
        user_agent=_USER_AGENT,
        timeout=source.timeout_seconds,
        login=login,
        manifest=_manifest(source),
    )
    return http_source.HttpFetcher(endpoint, source.title)


def _sftp_fetcher(source: network_kinds.SftpSource, settings: model.Settings) -> fetching.Fetcher:
    from worker.sources import sftp_source

    server = sftp_source.Server(
        source.host,
        source.port,
        source.username,
        settings.resolve_path(source.known_hosts_file),
        settings.resolve_path(source.password_file or source.key_file),
        "password_file" if source.password_file else "key_file",
    )
    upload = sftp_source.Upload(source.path, _manifest(source), source.settle_seconds, source.timeout_seconds)
    return sftp_source.SftpFetcher(server, upload, source.title)


def _bucket(source: network_kinds.ObjectSource, settings: model.Settings) -> "object_source.Bucket":
    from worker.sources import object_source

    scheme, bucket, key = object_source.parts(source.url)
    return object_source.Bucket(
        scheme,
        bucket,
        key,
        region=source.region,
        endpoint=source.endpoint,
        access_key_id=source.access_key_id,
        secret_file=_path(settings, source.secret_file),
        timeout=source.timeout_seconds,
    )


def _repository(source: network_kinds.GitSource, settings: model.Settings) -> "git_source.Repository":
    from worker.journal import address as addresses
    from worker.sources import git_source

    journal = addresses.parse(settings.journal_url).path
    return git_source.Repository(
        source.url,
        source.ref,
        source.path,
        cache=(journal.parent if journal else settings.resolve_path(".")).absolute() / "fleet-sync-git",
        key_file=_path(settings, source.key_file),
        known_hosts_file=_path(settings, source.known_hosts_file),
        token_file=_path(settings, source.token_file),
        require_descendant=source.require_descendant,
        any_suffix=source.format != "auto",
        timeout=source.timeout_seconds,
    )


def _ssl_context(source: network_kinds.HttpSource, settings: model.Settings) -> "ssl.SSLContext | None":
    from worker.service import network

    if not source.url.startswith("https:"):
        return None
    path = _path(settings, source.ca_file)
    return network.ssl_context_with(path, "sources.ca_file") if path else network.ssl_context()


def _path(settings: model.Settings, path: str) -> pathlib.Path | None:
    return settings.resolve_path(path) if path else None


def _manifest(source: source_sections.DocumentSource) -> str:
    return source.completeness.manifest if source.completeness else ""


def _options(source: source_sections.DocumentSource, timezone: str) -> document_reader.DocumentOptions:
    checks = source.completeness
    is_table = isinstance(source, source_kinds.SqlSource)
    return document_reader.DocumentOptions(
        format=source.format,
        delimiter="comma" if is_table else source.delimiter,
        encoding=source.encoding,
        rows=None if source.rows is None else _row_mapping(source.rows, source.fleets or {}),
        checks=None
        if checks is None
        else completeness.Completeness(checks.manifest, checks.trailer, checks.min_rows, checks.max_age_hours),
        zone=None if timezone == time_zones.FLEET else time_zones.find(timezone),
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
