"""`fleet-sync sources`: lists the kinds of sources and where each comes from.

Invariant: no plugin is imported that the settings do not name. Neighbours: `settings.source_kinds` has the built-in
kinds, `sources.plugin_loader` finds the others.
"""

from typing import Any

import click

import worker
from worker.cli import context, help_page, layout

_EXAMPLES = """\
fleet-sync sources
fleet-sync sources --json"""


@click.command(cls=help_page.Command, epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print the kinds as a document.")
@click.pass_obj
def sources(command_context: context.CommandContext, as_json: bool) -> int:
    """List the kinds of sources and where each comes from."""

    def run() -> int:
        from worker.settings import source_kinds

        command_context.configure_logs(as_json=as_json)
        built_in = [
            {"kind": kind, "from": "fleet-sync", "version": worker.__version__, "usable": True}
            for kind in source_kinds.KINDS
        ]
        kinds = built_in + _plugins(command_context)
        if as_json:
            context.print_document({"format": "fleet-sync/sources/1", "kinds": kinds})
            return 0
        width = max(len(str(kind["kind"])) for kind in kinds)
        for kind in kinds:
            unused = "" if kind["usable"] else f'  not used: add "{kind["from"]}" to plugins in the settings'
            line = f"{kind['kind']!s:{width}}  {kind['from']} {kind['version']}{unused}"
            context.print_text(layout.printable(line))
        return 0

    return command_context.report_errors(run, as_json=as_json)


def _plugins(command_context: context.CommandContext) -> list[dict[str, Any]]:
    """Return the kinds of installed plugins. Without a settings file, none is used."""
    from worker.settings import loader
    from worker.sources import plugin_loader

    named = () if loader.is_missing(command_context.config) else command_context.settings().plugins
    used = {plugin_loader.normalized(name) for name in named}
    return [
        {
            "kind": offer.kind,
            "from": offer.distribution,
            "version": offer.version,
            "usable": plugin_loader.normalized(offer.distribution) in used,
        }
        for offer in plugin_loader.offers()
    ]
