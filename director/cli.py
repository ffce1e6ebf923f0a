"""The command ``fed director``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from federation.help import Group
from federation.printing import printable


@click.group(cls=Group)
def director() -> None:
    """Run the director, which coordinates the envoys."""


def _configured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the director's config."""
    for option in (
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting of the config."
        ),
        click.option(
            "-c",
            "--config",
            "path",
            default="director_config.yaml",
            show_default=True,
            help="The director's config.",
        ),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@director.command()
@_configured
@click.option("--insecure", is_flag=True, help="Without certificates; on the loopback address only.")
def start(path: str, overrides: tuple[str, ...], insecure: bool) -> None:
    """Start a director and keep it running until SIGTERM or Ctrl-C."""
    import logging
    import os

    from director.config import DirectorConfig
    from director.preflight import require_startable
    from federation import logs, schema
    from federation.core_log import keep_refusals, refusals_in_words
    from federation.permissions import keep_private

    config = schema.load(path, DirectorConfig, overrides)
    keep_private()
    logs.configure(config.log_level, file=config.state / "director.log")
    keep_refusals()
    require_startable(config, insecure)
    from director.server import Director

    director = Director(config, insecure)
    with refusals_in_words(director.audit.handshake_failed):
        director.run()
    # All is on disk. Python would wait for threads, and one of a transfer that is stuck would keep the process for ever.
    logging.shutdown()
    os._exit(0)


@director.command()
@_configured
@json_option
def check(path: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say what the director's state holds, and whether it is whole; the director may run. Ends with 3 if it is not."""
    import json
    from dataclasses import asdict

    from director.upkeep.check import examine
    from federation.errors import InputError

    found = examine(_state(path, overrides))
    if as_json:
        click.echo(json.dumps(asdict(found) | {"whole": found.whole}, indent=2))
    else:
        for experiment in found.experiments:
            click.echo(printable("{name}: {state}, round {round}".format(**experiment)))
        click.echo(f"journal format {found.version}, {found.blobs} blobs")
        for line in [*found.notes, *(f"PROBLEM: {problem.says}" for problem in found.problems)]:
            click.echo(printable(line))
    if not found.whole:
        raise InputError(
            f"state: {len(found.problems)} problems; `fed director repair` says what can be mended"
        )
    if not as_json:
        click.echo("the state is whole")


@director.command()
@_configured
@click.option("--yes", is_flag=True, help="Do it.")
@json_option
def repair(path: str, overrides: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Say what can be mended in the state of a director that does not run, and mend it with --yes."""
    import json

    from director.upkeep import repair as repairing
    from federation.errors import InputError
    from federation.permissions import keep_private

    keep_private()
    plan = repairing.repair(_state(path, overrides), yes)
    mends = [mend.says for mend in plan.mends]
    if as_json:
        click.echo(json.dumps({"mends": mends, "hopeless": plan.hopeless, "done": yes}, indent=2))
    else:
        for says in mends:
            click.echo(printable(f"{'done' if yes else 'would'}: {says}"))
        for says in plan.hopeless:
            click.echo(printable(f"CANNOT BE MENDED: {says}"))
    if plan.hopeless:
        raise InputError(
            f"state: {len(plan.hopeless)} problems cannot be mended; nothing was done about them"
        )
    if mends and not yes:
        raise InputError("state: nothing was changed; `fed director repair --yes` mends it")
    if not mends and not as_json:
        click.echo("there is nothing to mend")


@director.command()
@_configured
@click.argument("folder", type=click.Path(path_type=Path))
def backup(path: str, overrides: tuple[str, ...], folder: Path) -> None:
    """Copy the director's state into an empty FOLDER; the director may run. To restore it, make it the state folder."""
    from director.upkeep.backup import back_up
    from federation.errors import InputError
    from federation.permissions import keep_private

    keep_private()
    copied = back_up(_state(path, overrides), folder)
    click.echo(f"{folder}: the journal and {copied.blobs} blobs, {copied.size} bytes")
    if copied.lacking:
        raise InputError("\n".join(f"the backup lacks what is not whole: {says}" for says in copied.lacking))


def _state(path: str, overrides: tuple[str, ...]) -> Path:
    from director.config import DirectorConfig
    from federation import schema

    return schema.load(path, DirectorConfig, overrides).state
