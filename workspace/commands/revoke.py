"""The command ``fed revoke``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from federation.printing import printable
from workspace.commands.common import json_option
from workspace.commands.director import connected

if TYPE_CHECKING:
    from workspace.client import Federation


@click.command()
@click.argument("name", required=False)
@click.option("--serial", default="", help="Only the certificate with this number (openssl x509 -serial).")
@click.option("--reason", default="", help="For whoever reads it.")
@click.option("--list", "listed", is_flag=True, help="List what is revoked.")
@json_option
@connected
def revoke(
    federation: Federation, name: str | None, serial: str, reason: str, listed: bool, as_json: bool
) -> None:
    """Make the certificates of the member NAME worth nothing: those made until now, or one. For operators."""
    from workspace import revocations

    if listed == (name is not None):
        raise click.UsageError("give a NAME, or --list")
    if name is None:
        found = revocations.revocations(federation)
    else:
        found = [one for one in revocations.revoke(federation, name, serial, reason) if one.name == name]
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for line in [str(one) for one in found] or ["nothing is revoked"]:
            click.echo(printable(line))
