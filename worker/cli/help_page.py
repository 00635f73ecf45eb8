"""The help of a command: its options, and below them examples.

Invariant: an example is printed as it is written, on one line, so that it can be copied. Neighbours: `main` is the
group of all commands, and every other command is a `Command`.
"""

import click


class Command(click.Command):
    """A command whose epilog is examples, one a line."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the examples."""
        write_examples(formatter, self.epilog or "")


class Group(click.Group):
    """A command that consists of several, whose epilog is examples, one a line."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the examples."""
        write_examples(formatter, self.epilog or "")


def write_examples(formatter: click.HelpFormatter, examples: str) -> None:
    """Write a section with examples, one a line."""
    with formatter.section("Examples"):
        for line in examples.splitlines():
            formatter.write(f"{' ' * formatter.current_indent}{line}\n")
