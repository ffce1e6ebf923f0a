"""The command ``fed audit``: who did what at a director, for operators."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from federation.tables import NOTHING, print_table
from workspace.commands.common import json_option
from workspace.commands.director import connected

if TYPE_CHECKING:
    from federation.protocol import federation_pb2 as pb
    from workspace.client import Federation

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FIELDS = ("time", "member", "role", "address", "what", "experiment", "outcome", "count")


def moment(text: str, now: float) -> float:
    """Return the Unix time of a date, a date with a time (this machine's), or of so long ago: ``90m``, ``24h``, ``7d``."""
    if found := re.fullmatch(r"([0-9]{1,9})([smhd])", text):
        return now - int(found[1]) * _SECONDS[found[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text}: write it as 2026-11-25, 2026-11-25T13:00, or as 90m, 24h or 7d ago",
            param_hint="--since",
        ) from None


@click.command()
@click.option("--since", help="From then on: 2026-11-25, 2026-11-25T13:00, or 90m, 24h, 7d ago.")
@click.option("--member", "who", default="", help="Only what one member did.")
@click.option(
    "--what", default="", help="Only this: submit, stop, resume, exclude, remove, model, refused ..."
)
@click.option("--last", type=click.IntRange(1, 100_000), help="So many at most, the newest.")
@json_option
@connected
def audit(
    federation: Federation, since: str | None, who: str, what: str, last: int | None, as_json: bool
) -> None:
    """Print who did what, from which address, when; with --json one entry a line. For operators."""
    from federation.protocol import federation_pb2 as pb
    from workspace.client import PATIENCE_SECONDS

    begin = moment(since, time.time()) if since else 0.0
    request = pb.AuditRequest(since=begin, member=who, what=what, last=last or 0)
    entries = federation.link.call(lambda stub: list(stub.Audit(request)), patience=PATIENCE_SECONDS)
    if as_json:
        for entry in entries:
            click.echo(json.dumps({field: getattr(entry, field) for field in FIELDS}))
        return
    print_table(
        ["when", "who", "from", "what", "experiment", "outcome"],
        [_row(entry) for entry in entries],
        "nothing is in the audit log" + (" of what was asked for" if since or who or what else ""),
        wraps=["outcome"],
        spare=["from"],
    )


def _row(entry: pb.AuditEntry) -> list[str]:
    times = f" ({entry.count} times)" if entry.count else ""
    return [
        datetime.fromtimestamp(entry.time).strftime("%Y-%m-%d %H:%M:%S"),
        f"{entry.role} {entry.member}".strip() or NOTHING,
        entry.address or NOTHING,
        entry.what or NOTHING,
        entry.experiment or NOTHING,
        f"{entry.outcome}{times}" or NOTHING,
    ]
