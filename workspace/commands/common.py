"""What the commands of a workspace share: options, and silence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from federation.printing import printable

plan_options = [
    click.argument("plan"),
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting of the plan."
    ),
]
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress.")
federation_option = click.option(
    "--federation",
    "federation_path",
    required=True,
    metavar="FILE",
    help="The federation file: envoys and their data.",
)


def with_plan(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the plan and its overrides to a command."""
    for option in reversed(plan_options):
        command = option(command)
    return command


def be_quiet(quiet: bool) -> None:
    """Keep the learning libraries' own progress bars and notes off the terminal."""
    if quiet:
        from workspace.quiet import quiet_libraries

        quiet_libraries()


@contextmanager
def said_on_standard_error(*names: str) -> Iterator[None]:
    """Say on standard error what some loggers have to tell, so that a command does not wait without a word."""
    handler = _OnStandardError()
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)


class _OnStandardError(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"fed: {printable(record.getMessage())}", err=True)
