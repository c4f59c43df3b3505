"""A group of commands that imports a command when it is called, and never for its own help."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import ClassVar, NamedTuple

import click


class Entry(NamedTuple):
    """Where a command is defined, ``module:attribute``, and its one line of help."""

    target: str
    help: str


class LazyGroup(click.Group):
    """A click group whose commands come from a table of entries, next to those added as usual."""

    entries: ClassVar[Mapping[str, Entry]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the table's names in its order, then the others."""
        return [*self.entries, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, importing its module; None when there is no such name."""
        if cmd_name not in self.entries:
            return super().get_command(ctx, cmd_name)
        module, attribute = self.entries[cmd_name].target.split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown name is a usage error that tells the nearest."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            near = get_close_matches(args[0], known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
            raise click.UsageError(f"No such command '{args[0]}' ({hint})", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command; those of the table are not imported."""
        rows = [(name, entry.help) for name, entry in self.entries.items()]
        own = [(name, self.commands[name]) for name in super().list_commands(ctx)]
        rows += [(name, c.get_short_help_str(limit=80)) for name, c in own if not c.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
