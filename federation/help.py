"""How commands are listed, and what is said to a misspelt one."""

from __future__ import annotations

import difflib

import click

SECTIONS: dict[str, tuple[str, ...]] = {
    "On this machine": ("data", "plan", "simulate", "central", "local", "evaluate", "predict"),
    "With a director": (
        "envoys",
        "submit",
        "list",
        "watch",
        "logs",
        "model",
        "stop",
        "resume",
        "exclude",
        "rm",
    ),
    "For operators": ("certify", "director", "envoy", "revoke", "audit"),
}
"""The commands of ``fed`` in the order in which they are met. A name without a command is not listed."""
OTHERS = "Of other packages"


class Group(click.Group):
    """A group of commands that says which one was perhaps meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; one that there is not is wrong usage, and named is what comes near it."""
        name = args[0]
        if name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, self.list_commands(ctx), n=3)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"No such command {name!r}.{meant}", ctx)


def list_in_sections(group: click.Group, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write a group's commands under the headings of `SECTIONS`, each with its whole first sentence."""
    found = {name: command for name in group.list_commands(ctx) if (command := group.get_command(ctx, name))}
    placed = {name for names in SECTIONS.values() for name in names}
    sections = {
        **SECTIONS,
        OTHERS: tuple(name for name in found if name not in placed),
    }
    for heading, names in sections.items():
        rows = [
            (name, found[name].get_short_help_str(limit=1000))
            for name in names
            if name in found and not found[name].hidden
        ]
        if rows:
            with formatter.section(heading):
                # So that the descriptions of all sections stand below each other.
                formatter.write_dl([(f"{name:9}", text) for name, text in rows])
