"""`fleet-sync completion SHELL`: prints the script that completes commands and options in a shell.

Invariant: the script calls this program back, so that it never knows less than the program. Neighbours: click makes the
script, `main` completes.
"""

from typing import Literal

import click

from worker.cli import context, help_page

VARIABLE = "_FLEET_SYNC_COMPLETE"
"""The variable by which the script asks this program for completions. click derives it from the program's name."""

_EXAMPLES = """\
eval "$(fleet-sync completion bash)"
fleet-sync completion zsh > ~/.zfunc/_fleet-sync
fleet-sync completion fish > ~/.config/fish/completions/fleet-sync.fish"""


@click.command(cls=help_page.Command, epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print the completion script of a shell."""
    from click import shell_completion

    from worker.cli import main

    complete = shell_completion.get_completion_class(shell)
    assert complete is not None  # noqa: S101 # click knows these three
    context.print_verbatim(complete(main.cli, {}, "fleet-sync", VARIABLE).source())
    return 0
