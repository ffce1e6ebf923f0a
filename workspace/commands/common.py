"""What the commands of a workspace share: options, and silence."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
output_option = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write."
)
force_option = click.option(
    "--force",
    is_flag=True,
    help="Replace what another run has left in the folder; nothing else in it is touched.",
)


def _device_name(context: click.Context, parameter: click.Parameter, name: str) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", name) is None:
        raise click.BadParameter(f"{name}: write it as auto, cpu or cuda:N")
    return name


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    callback=_device_name,
    help="auto (a GPU if there is one), cpu or cuda:N.",
)
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


def make_output(folder: Path) -> None:
    """Make the folder that a command is to write: what keeps it from being written is said before the slow work.

    Raises
    ------
    InputError
        If it cannot be made or written.
    MachineFault
        If there is no room for it.
    """
    from tempfile import TemporaryFile

    from federation.faults import path_fault

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise path_fault(folder, error) from error


def require_device(name: str) -> None:
    """Refuse a GPU that torch does not find here.

    Raises
    ------
    InputError
        If it is not there.
    """
    if not name.startswith("cuda"):
        return
    import torch

    from federation.errors import InputError

    number = int(name.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        there = ", ".join(f"cuda:{index}" for index in range(torch.cuda.device_count())) or "no GPU"
        raise InputError(f"--device: {name} is not here ({there} is); use auto, cpu or one that is")


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
