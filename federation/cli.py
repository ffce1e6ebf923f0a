"""The commands ``fed certify`` and ``fed plan``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from federation.errors import InputError
from federation.help import Group

overriding = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
forcing = click.option("--force", is_flag=True, help="Replace a key and certificate that are there.")


def lasting(days: int) -> Callable[[Any], Any]:
    """Make the option that says for how long a certificate is valid."""
    kind = click.IntRange(1, 36500)
    return click.option("--days", type=kind, default=days, show_default=True, help="How long it is valid.")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-o", "--output", default="certificates", show_default=True, help="The folder of the certificates."
)
@click.pass_context
def certify(context: click.Context, output: str) -> None:
    """Make the authority and the members' certificates.

    Make the authority first, where its key stays. A member needs three files: authority.crt, NAME.crt and
    NAME.key. What is there already is kept, unless --force is given.
    """
    context.obj = Path(output)


@certify.command()
@click.option("--name", default="federation", show_default=True, help="What its certificate calls it.")
@lasting(3650)
@forcing
@click.pass_obj
def authority(folder: Path, name: str, days: int, force: bool) -> None:
    """Make the authority, which signs all other certificates."""
    from federation.certificates import AUTHORITY, make_authority

    made = make_authority(folder, name, days=days, force=force)
    _tell(folder, AUTHORITY, "certificate of the authority", made)


@certify.command()
@click.argument("name")
@click.option(
    "--host", "hosts", multiple=True, help="A DNS name or IP address at which it is reached; may be repeated."
)
@lasting(730)
@forcing
@click.pass_obj
def director(folder: Path, name: str, hosts: tuple[str, ...], days: int, force: bool) -> None:
    """Make the certificate of the director NAME.

    Members connect only under a name or address that is in it: by default localhost, 127.0.0.1 and ::1.
    """
    from federation.certificates import LOOPBACK

    _make(folder, [name], "director", days, force, hosts or LOOPBACK)


@certify.command()
@click.argument("names", nargs=-1, required=True)
@lasting(730)
@forcing
@click.pass_obj
def envoy(folder: Path, names: tuple[str, ...], days: int, force: bool) -> None:
    """Make the certificates of the envoys NAMES."""
    _make(folder, names, "envoy", days, force)


@certify.command()
@click.argument("names", nargs=-1, required=True)
@lasting(730)
@forcing
@click.pass_obj
def workspace(folder: Path, names: tuple[str, ...], days: int, force: bool) -> None:
    """Make the certificates of the data scientists NAMES."""
    _make(folder, names, "workspace", days, force)


@certify.command()
@click.argument("names", nargs=-1, required=True)
@lasting(730)
@forcing
@click.pass_obj
def operator(folder: Path, names: tuple[str, ...], days: int, force: bool) -> None:
    """Make the certificates of the operators NAMES, who may do to every experiment what its owner may, and revoke."""
    _make(folder, names, "operator", days, force)


@certify.command()
@click.argument("name")
@click.option("--role", required=True, help="What the authority is asked for.")
@click.option("--force", is_flag=True, help="Make another key in the place of one that is there.")
@click.pass_obj
def request(folder: Path, name: str, role: str, force: bool) -> None:
    """Make a key where it is to stay, and the request NAME.csr, which the authority signs.

    A key that is there already is kept, so that its certificate can be renewed.
    """
    from federation.certificate_requests import make_request, request_file
    from federation.certificates import key_file

    made = make_request(folder, name, role, force=force)
    click.echo(f"{key_file(folder, name)}: {'stays here' if made else 'was there already, kept'}")
    click.echo(
        f"{request_file(folder, name)}: take it to the authority: "
        f"fed certify sign {name}.csr --name {name} --role {role}"
    )


@certify.command()
@click.argument("request", type=click.Path(path_type=Path))
@click.option(
    "--name", required=True, help="The member's name; what the request says of it is not looked at."
)
@click.option("--role", required=True, help="Its role; likewise.")
@click.option(
    "--host", "hosts", multiple=True, help="Of a director, as in `fed certify director`; may be repeated."
)
@lasting(730)
@click.option("--force", is_flag=True, help="Replace a certificate of another key or role.")
@click.pass_obj
def sign(
    folder: Path, request: Path, name: str, role: str, hosts: tuple[str, ...], days: int, force: bool
) -> None:
    """Sign the REQUEST of a site, where the authority is; the site then needs NAME.crt and authority.crt."""
    from federation.certificate_requests import sign_request
    from federation.certificates import LOOPBACK

    hosts = hosts or (LOOPBACK if role == "director" else ())
    sign_request(folder, request, name, role, hosts, days=days, force=force)
    _tell(folder, name, _what(role, name, hosts), True)


@certify.command()
@click.argument("names", nargs=-1, required=True)
@lasting(730)
@click.pass_obj
def renew(folder: Path, names: tuple[str, ...], days: int) -> None:
    """Sign the certificates of NAMES anew, for the same keys; the members then need the new NAME.crt only."""
    from federation.certificate_requests import renew as sign_anew

    for name in names:
        sign_anew(folder, name, days=days)
        _tell(folder, name, "certificate renewed", True)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def plan() -> None:
    """Check a plan, or show it with every default filled in."""


@plan.command()
@click.argument("plans", nargs=-1, required=True)
@overriding
@as_json
@click.pass_context
def check(context: click.Context, plans: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Say all that is wrong with PLANS; exit code 3 if anything is."""
    from dataclasses import asdict

    from federation.document import Problems
    from federation.plan import load_plan
    from federation.plan_building import check_building

    reports: list[dict[str, Any]] = []
    for path in plans:
        try:
            checked = check_building(load_plan(path, overrides), path)
            reports.append({"plan": path, "hash": checked.hash, "problems": []})
            text = f"{path}: sound, hash {checked.hash[:12]}"
        except Problems as error:
            found = [asdict(problem) for problem in error.problems]
            reports.append({"plan": path, "hash": None, "problems": found})
            text = str(error)
        except InputError as error:
            found = [{"where": "", "line": None, "message": str(error), "source": path}]
            reports.append({"plan": path, "hash": None, "problems": found})
            text = str(error)
        if not as_json:
            click.echo(text, err=bool(reports[-1]["problems"]))
    if as_json:
        click.echo(json.dumps(reports, indent=2))
    if any(report["problems"] for report in reports):
        context.exit(InputError.exit_code)


@plan.command()
@click.argument("plan", metavar="PLAN")
@overriding
@as_json
def show(plan: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print PLAN with every default filled in, and its hash."""
    from federation.document import dump
    from federation.plan import load_plan

    checked = load_plan(plan, overrides)
    if as_json:
        click.echo(json.dumps({"name": checked.name, "hash": checked.hash, "plan": checked.config}, indent=2))
    else:
        click.echo(f"# {checked.name}, hash {checked.hash}\n{dump(checked.config)}", nl=False)


def _make(
    folder: Path, names: Sequence[str], role: str, days: int, force: bool, hosts: Sequence[str] = ()
) -> None:
    from federation.certificates import make_member

    for name in names:
        made = make_member(folder, name, role, hosts, days=days, force=force)
        _tell(folder, name, _what(role, name, hosts), made)


def _what(role: str, name: str, hosts: Sequence[str]) -> str:
    return f"certificate of {role} {name}" + (f" at {', '.join(hosts)}" if hosts else "")


def _tell(folder: Path, name: str, what: str, made: bool) -> None:
    from federation.certificates import certificate_file, load_certificate

    file = certificate_file(folder, name)
    end = load_certificate(file, "make it with --force").not_valid_after_utc
    click.echo(f"{file}: {what}, valid until {end:%Y-%m-%d}{'' if made else ' (was there already, kept)'}")
