"""The console script ``fed``: joins the commands that each package brings, and turns errors into one line.

Exit codes are in `federation.errors`; what lies behind an error is in the log file that `federation.logs`
names.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from federation import logs, plugins
from federation.errors import FederationError
from federation.faults import fault_of
from federation.help import Group, list_in_sections
from federation.printing import printable

GROUP = "federation.commands"
INTERRUPTED = 130
# As the shell has it of programs that end by SIGPIPE.
NOBODY_READS = 141

logger = logging.getLogger(__name__)


class Commands(Group):
    """Loads a command's package when the command is called, or when help is asked for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what they are for."""
        list_in_sections(self, ctx, formatter)

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the command line, and print help or version where it asks for them."""
        with _closed_pipe_kept_from_click():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _closed_pipe_kept_from_click():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands of all installed packages."""
        return sorted({*plugins.names(GROUP), *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; one that cannot be imported becomes one that says so."""
        if cmd_name not in plugins.names(GROUP):
            return super().get_command(ctx, cmd_name)
        try:
            return plugins.load(GROUP, cmd_name, click.Command)
        except FederationError as error:
            return _broken(cmd_name, error)


class _NobodyReads(Exception):  # noqa: N818
    """A closed pipe, in a form that click leaves to us."""


@contextmanager
def _closed_pipe_kept_from_click() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _NobodyReads from error


def _broken(name: str, error: FederationError) -> click.Command:
    def fail() -> None:
        raise error

    any_arguments = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, any_arguments, fail, short_help=str(error), add_help_option=False)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="speech-federation", prog_name="fed")
def fed() -> None:
    """Fine-tune speech and language models together, where the data stays at home."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        As on the command line; ``sys.argv`` if not given.

    Returns
    -------
    int
        The exit code.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        logs.configure(file=logs.log_file(), quiet=True)
        with _output():
            result = fed.main(args=arguments, prog_name="fed", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (BrokenPipeError, _NobodyReads):
        return NOBODY_READS
    except Exception as error:
        return _end_with(error, arguments)
    return result if isinstance(result, int) else 0


@contextmanager
def _output() -> Iterator[None]:
    """Print what a terminal's encoding lacks as an escape, and meet here what keeps the last of it from being written."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BaseException:
        _drop_output()
        raise


def _drop_output() -> None:
    """Let what could not be written go, or Python would try once more as it ends, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _end_with(error: Exception, arguments: Sequence[str]) -> int:
    """Say in a line what has gone wrong, leave its traceback in the log, and return the exit code."""
    command = " ".join(arguments)
    known = error if isinstance(error, FederationError) else fault_of(error)
    if known is not None:
        code = known.exit_code
        logger.error(
            "fed %s ended with exit code %d", command, code, exc_info=error, extra=logs.in_file_only()
        )
        _say(str(known) or type(known).__name__)
        return code
    logger.error("fed %s failed", command, exc_info=error, extra=logs.in_file_only())
    what = " ".join(f"{type(error).__name__}: {error}".split())
    _say(f"{what[:300]}; this is a fault in the program, the traceback is in {logs.file_in_use()}")
    return FederationError.exit_code


def _say(message: str) -> None:
    for line in message.splitlines():
        click.echo(f"fed: error: {printable(line)}", err=True)


if __name__ == "__main__":
    sys.exit(main())
