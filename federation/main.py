"""The console script ``fed``: joins the commands that each package brings, and turns errors into one line.

Exit codes are in `federation.errors`; what lies behind an error is in the log file that `federation.logs`
names.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import click

from federation import logs, plugins
from federation.errors import FederationError
from federation.help import Group, list_in_sections
from federation.printing import printable

GROUP = "federation.commands"
INTERRUPTED = 130

logger = logging.getLogger(__name__)


class Commands(Group):
    """Loads a command's package when the command is called, or when help is asked for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what they are for."""
        list_in_sections(self, ctx, formatter)

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
    logs.configure(file=logs.log_file(), quiet=True)
    try:
        result = fed.main(args=arguments, prog_name="fed", standalone_mode=False)
    except FederationError as error:
        logger.info("fed %s ended with exit code %d", " ".join(arguments), error.exit_code, exc_info=True)
        _say(str(error) or type(error).__name__)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        logger.exception("fed %s failed", " ".join(arguments))
        what = " ".join(f"{type(error).__name__}: {error}".split())
        _say(f"{what[:300]}; this is a fault in the program, the traceback is in {logs.log_file()}")
        return FederationError.exit_code
    return result if isinstance(result, int) else 0


def _say(message: str) -> None:
    for line in message.splitlines():
        click.echo(f"fed: error: {printable(line)}", err=True)


if __name__ == "__main__":
    sys.exit(main())
