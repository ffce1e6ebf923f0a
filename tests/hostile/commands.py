"""Commands of `fed` within the test's process."""

from __future__ import annotations

import click
from click.testing import CliRunner


def run(command: click.Command, *arguments: str) -> str:
    """Run a command to its end and return what it printed; an error is raised as it would end `fed`."""
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output
