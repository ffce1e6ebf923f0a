"""The commands of a workspace that talk to a director: who is online, and experiments from submission to model."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from federation.printing import printable
from federation.tables import NOTHING, print_table
from workspace.amounts import duration, size
from workspace.commands.common import (
    be_quiet,
    json_option,
    make_output,
    quiet_option,
    said_on_standard_error,
    with_plan,
)

if TYPE_CHECKING:
    from workspace.client import Federation
    from workspace.infos import ExperimentInfo

REACH = "workspace.commands.reach"


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its connection to the director."""

    @click.option("-c", "--config", envvar="FED_WORKSPACE", help="workspace_config.yaml of another folder.")
    @click.option("--director", envvar="FED_DIRECTOR", metavar="HOST:PORT", help="Instead of the config's.")
    @click.option(
        "--certificates", envvar="FED_CERTIFICATES", type=click.Path(path_type=Path), help="Likewise."
    )
    @click.option(
        "--name", "member", envvar="FED_NAME", help="This workspace's name in its certificate; likewise."
    )
    @click.option("--insecure", is_flag=True, help="Without certificates; on the loopback address only.")
    @functools.wraps(command)
    def wrapped(
        config: str | None,
        director: str | None,
        certificates: Path | None,
        member: str | None,
        insecure: bool,
        **arguments: Any,
    ) -> Any:
        from workspace.config import connect

        click.get_current_context().meta[REACH] = _reach()

        found = connect(config, insecure, director=director, certificates=certificates, name=member)
        told = (
            nullcontext()
            if arguments.get("quiet")
            else said_on_standard_error("federation.link", "workspace.client")
        )
        with told, found as federation:
            return command(federation, **arguments)

    return wrapped


@click.command()
@connected
@json_option
def envoys(federation: Federation, as_json: bool) -> None:
    """List the envoys that are online; say whose certificate is about to end."""
    from workspace.certificate_ends import warnings

    found = federation.envoys()
    for warning in warnings(found):
        click.echo(f"fed: {warning}", err=True)
    if as_json:
        click.echo(json.dumps([asdict(e) for e in found], indent=2))
        return
    rows = [
        [
            e.name,
            e.dataset or NOTHING,
            f"{len(e.classes)}",
            "/".join(str(e.samples.get(split, 0)) for split in ("train", "validation", "test")),
            ", ".join(map(_device, e.devices)) or NOTHING,
            ", ".join(e.experiments) or NOTHING,
        ]
        for e in found
    ]
    print_table(
        ["envoy", "dataset", "classes", "train/validation/test", "devices", "works on"],
        rows,
        f"no envoy is online at {federation.address}",
        wraps=["dataset", "devices", "works on"],
        spare=["devices", "dataset", "classes"],
        right=["classes"],
    )


@click.command("list")
@connected
@json_option
def list_experiments(federation: Federation, as_json: bool) -> None:
    """List the director's experiments: how they stand, whose they are, how old, and how long they took."""
    found = federation.experiments()
    if as_json:
        click.echo(json.dumps([asdict(e) for e in found], indent=2))
        return
    now = time.time()
    rows = [
        [
            e.name,
            e.plan or NOTHING,
            e.state,
            f"{e.round}/{e.rounds}",
            _best(e),
            e.submitted_by or NOTHING,
            duration(now - e.created),
            duration(e.ended - e.created) if e.ended else NOTHING,
            ", ".join(e.cohort) or NOTHING,
            e.reason or NOTHING,
        ]
        for e in found
    ]
    print_table(
        ["experiment", "plan", "state", "round", "best score", "owner", "age", "took", "envoys", "why"],
        rows,
        f"no experiments at {federation.address}; `fed submit PLAN` makes one",
        wraps=["best score", "envoys", "why"],
        spare=["envoys", "took", "age", "owner", "plan"],
    )


@click.command()
@with_plan
@click.option("--as", "name", help="The experiment's name; by default the plan's.")
@click.option("--watch", "follow", is_flag=True, help="Wait until it has ended.")
@quiet_option
@json_option
@connected
def submit(
    federation: Federation,
    plan: str,
    overrides: tuple[str, ...],
    name: str | None,
    follow: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Submit a plan; prints the experiment's name."""
    from federation.errors import InputError
    from federation.names import is_experiment_name
    from federation.plan import load_plan

    if name is not None and not is_experiment_name(name):
        raise InputError(f"--as: {name!r} cannot name an experiment: use a-z, 0-9, '_', '-', '.'")
    # Which says what is wrong with it before the learning libraries are imported.
    checked = load_plan(plan, overrides)
    be_quiet(quiet)
    experiment = federation.submit(checked, name=name)
    if follow:
        ended = experiment.watch(show=not quiet)
        if not quiet:
            _tell_end(ended, "", err=True)
    click.echo(json.dumps(asdict(experiment.info()), indent=2) if as_json else printable(experiment.name))


@click.command()
@click.argument("experiment")
@quiet_option
@json_option
@connected
def watch(federation: Federation, experiment: str, quiet: bool, as_json: bool) -> None:
    """Follow an experiment, from its first event, until it has ended; with --json every event, one a line."""
    from workspace.client import RESTART_SECONDS
    from workspace.progress import RoundProgress

    found = federation.experiment(experiment, RESTART_SECONDS)
    if as_json:
        for event in found.events(follow=True):
            click.echo(json.dumps(asdict(event)))
        return
    with RoundProgress(found.name, found.info().rounds, not quiet, to_output=True) as progress:
        info = found.follow(lambda event: progress.take(event.kind, event.body, event.time))
    _tell_end(info, progress.metric_of(info.best_round, info.best_score))


@click.command()
@click.argument("experiment")
@json_option
@connected
def stop(federation: Federation, experiment: str, as_json: bool) -> None:
    """Stop an experiment; what it has reached is kept."""
    info = federation.experiment(experiment).stop()
    if as_json:
        click.echo(json.dumps(asdict(info), indent=2))
        return
    from workspace.commands.endings import tell_stopped

    tell_stopped(info, click.get_current_context().meta.get(REACH, ()))


@click.command()
@click.argument("experiment")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another number of rounds, or another limit.",
)
@click.option("--accept-code", is_flag=True, help="Go on with the code that the envoys which are held share.")
@json_option
@connected
def resume(
    federation: Federation, experiment: str, overrides: tuple[str, ...], accept_code: bool, as_json: bool
) -> None:
    """Queue a failed or stopped experiment again; of one that runs, take back failed and excluded envoys."""
    settings = dict(_setting(one) for one in overrides)
    info = federation.experiment(experiment).resume(settings, accept_code)
    click.echo(json.dumps(asdict(info), indent=2) if as_json else printable(f"{info.name}: {info.state}"))


@click.command()
@click.argument("experiment")
@click.argument("envoy")
@json_option
@connected
def exclude(federation: Federation, experiment: str, envoy: str, as_json: bool) -> None:
    """Let a running experiment go on without an envoy; `fed resume` takes it back."""
    info = federation.experiment(experiment).exclude(envoy)
    click.echo(
        json.dumps(asdict(info), indent=2) if as_json else printable(f"{info.name}: goes on without {envoy}")
    )


@click.command("rm")
@click.argument("experiment")
@json_option
@connected
def remove(federation: Federation, experiment: str, as_json: bool) -> None:
    """Remove an experiment that has ended, with its models and events; its name stays taken."""
    info = federation.experiment(experiment).remove()
    click.echo(json.dumps(asdict(info), indent=2) if as_json else printable(f"{info.name}: {info.state}"))


@click.command()
@click.argument("experiment")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--which", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option("--force", is_flag=True, help="Replace the model of another experiment in the folder.")
@connected
def model(federation: Federation, experiment: str, output: Path, which: str, force: bool) -> None:
    """Write an experiment's model as a Hugging Face folder."""
    found = federation.experiment(experiment)
    make_output(output)
    be_quiet(True)
    found.model(output, which, force)
    click.echo(str(output))


@click.command()
@click.argument("experiment")
@click.option("--envoy", help="Only what concerns one envoy.")
@click.option("--follow", is_flag=True, help="Go on until the experiment has ended.")
@json_option
@connected
def logs(federation: Federation, experiment: str, envoy: str | None, follow: bool, as_json: bool) -> None:
    """Print what has happened in an experiment, failures with their tracebacks."""
    from workspace.client import PATIENCE_SECONDS, RESTART_SECONDS
    from workspace.commands.event_lines import event_lines

    found = federation.experiment(experiment, RESTART_SECONDS if follow else PATIENCE_SECONDS)
    said = False
    for event in found.events(follow=follow):
        if envoy is not None and event.body.get("envoy") != envoy:
            continue
        said = True
        click.echo(json.dumps(asdict(event)) if as_json else "\n".join(event_lines(event)))
    if not said and not as_json:
        of_whom = "" if envoy is None else f" that concerns the envoy {envoy}"
        click.echo(printable(f"nothing{of_whom} has happened in {experiment}"))


def _device(device: dict[str, Any]) -> str:
    memory = f", {size(device['memory'])}" if device["memory"] else ""
    return f"{device['name']} ({device['model']}{memory})"


def _tell_end(info: ExperimentInfo, metric: str, err: bool = False) -> None:
    from workspace.commands.endings import tell_experiment

    tell_experiment(info, metric, click.get_current_context().meta.get(REACH, ()), err)


def _reach() -> list[str]:
    """Return the options by which the director was named on the command line: another command needs them as well."""
    context = click.get_current_context()
    given: list[str] = []
    for option in context.command.params:
        if option.name not in ("config", "director", "certificates", "member", "insecure"):
            continue
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            value = context.params[option.name]
            given += [max(option.opts, key=len), *([] if value is True else [str(value)])]
    return given


def _best(info: ExperimentInfo) -> str:
    """Say which round was best, and whether its model is there no more."""
    metric = f"{info.best_metric} " if info.best_metric else ""
    best = [] if info.best_score is None else [f"{metric}{info.best_score:.4f} (round {info.best_round})"]
    return ", ".join([*best, "models pruned"] if info.pruned else best) or NOTHING


def _setting(assignment: str) -> tuple[str, Any]:
    from federation.document import parse

    key, equals, text = assignment.partition("=")
    parsed = parse(text, "--set")
    if not equals or not key or parsed.problems:
        raise click.BadParameter(f"{assignment}: write it as KEY=VALUE", param_hint="--set")
    return key.strip(), parsed.value
