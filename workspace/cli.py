"""The commands of a workspace: experiments at a director, simulations, baselines and evaluation."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from workspace.client import Federation

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

        found = connect(config, insecure, director=director, certificates=certificates, name=member)
        with found as federation:
            return command(federation, **arguments)

    return wrapped


@click.command()
@connected
@json_option
def envoys(federation: Federation, as_json: bool) -> None:
    """List the envoys that are online."""
    found = federation.envoys()
    if as_json:
        click.echo(json.dumps([asdict(e) for e in found], indent=2))
        return
    rows = [
        [
            e.name,
            e.dataset,
            f"{len(e.classes)}",
            "/".join(str(e.samples.get(split, 0)) for split in ("train", "validation", "test")),
            ", ".join(f"{d['name']} ({d['model']}, {d['memory'] / 2**30:.0f} GiB)" for d in e.devices),
            ", ".join(e.experiments) or "-",
        ]
        for e in found
    ]
    _table(["envoy", "dataset", "classes", "train/validation/test", "devices", "works on"], rows)


@click.command("list")
@connected
@json_option
def list_experiments(federation: Federation, as_json: bool) -> None:
    """List the director's experiments."""
    found = federation.experiments()
    if as_json:
        click.echo(json.dumps([asdict(e) for e in found], indent=2))
        return
    rows = [
        [
            e.name,
            e.state,
            f"{e.round}/{e.rounds}",
            "-" if e.best_score is None else f"{e.best_score:.4f} (round {e.best_round})",
            ", ".join(e.cohort) or "-",
            e.reason or "-",
        ]
        for e in found
    ]
    _table(["experiment", "state", "round", "best", "envoys", "why"], rows)


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
    _be_quiet(quiet)
    experiment = federation.submit(plan, overrides, name)
    if follow:
        experiment.watch(show=not quiet)
    click.echo(json.dumps(asdict(experiment.info()), indent=2) if as_json else experiment.name)


@click.command()
@click.argument("experiment")
@quiet_option
@json_option
@connected
def watch(federation: Federation, experiment: str, quiet: bool, as_json: bool) -> None:
    """Follow an experiment until it has ended; with --json every event from the first, one a line."""
    found = federation.experiment(experiment)
    if as_json:
        for event in found.events(follow=True):
            click.echo(json.dumps(asdict(event)))
        return
    info = found.watch(show=not quiet)
    click.echo(f"{info.name}: {info.state} after {info.rounds} rounds, {info.exchanged_sha256}")


@click.command()
@click.argument("experiment")
@json_option
@connected
def stop(federation: Federation, experiment: str, as_json: bool) -> None:
    """Stop an experiment; what it has reached is kept."""
    info = federation.experiment(experiment).stop()
    click.echo(json.dumps(asdict(info), indent=2) if as_json else f"{info.name}: {info.state}")


@click.command()
@click.argument("experiment")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--which", type=click.Choice(["best", "last"]), default="best", show_default=True)
@connected
def model(federation: Federation, experiment: str, output: Path, which: str) -> None:
    """Write an experiment's model as a Hugging Face folder."""
    _be_quiet(True)
    federation.experiment(experiment).model(output, which)
    click.echo(str(output))


@click.command()
@click.argument("experiment")
@click.option("--envoy", help="Only what concerns one envoy.")
@click.option("--follow", is_flag=True, help="Go on until the experiment has ended.")
@json_option
@connected
def logs(federation: Federation, experiment: str, envoy: str | None, follow: bool, as_json: bool) -> None:
    """Print what has happened in an experiment, failures with their tracebacks."""
    from workspace.event_lines import event_lines

    for event in federation.experiment(experiment).events(follow=follow):
        if envoy is not None and event.body.get("envoy") != envoy:
            continue
        click.echo(json.dumps(asdict(event)) if as_json else "\n".join(event_lines(event)))


@click.command()
@with_plan
@federation_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option(
    "--processes", default=1, show_default=True, type=click.IntRange(1, 256), help="That share the envoys."
)
@click.option(
    "--device", default="auto", show_default=True, help="auto (a GPU if there is one), cpu or cuda:N."
)
@quiet_option
@json_option
def simulate(
    plan: str,
    overrides: tuple[str, ...],
    federation_path: str,
    output: Path,
    processes: int,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a plan on this machine, over the envoys of a federation file."""
    from federation.federation_file import load_federation
    from federation.plan import load_plan
    from workspace.progress import RoundProgress
    from workspace.simulation import simulate

    _be_quiet(True)
    checked = load_plan(plan, overrides)
    with RoundProgress(checked.name, checked.aggregator.rounds_to_train, not quiet) as progress:
        summary = simulate(
            checked, load_federation(federation_path), output, processes, progress.take, device
        )
    _print_summary(asdict(summary), as_json)


@click.command()
@with_plan
@federation_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@quiet_option
@json_option
def central(
    plan: str, overrides: tuple[str, ...], federation_path: str, output: Path, quiet: bool, as_json: bool
) -> None:
    """Train on all envoys' data pooled: the baseline from above."""
    _baseline(plan, overrides, federation_path, None, output, quiet, as_json)


@click.command()
@with_plan
@federation_option
@click.option("--envoy", required=True, help="Whose data.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@quiet_option
@json_option
def local(
    plan: str,
    overrides: tuple[str, ...],
    federation_path: str,
    envoy: str,
    output: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train on one envoy's data alone: the baseline from below."""
    _baseline(plan, overrides, federation_path, envoy, output, quiet, as_json)


@click.command()
@click.argument("model_folder", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--on", "on", required=True, metavar="FILE", help="A federation file; its test shard is measured on."
)
@click.option(
    "--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"])
)
@json_option
def evaluate(model_folder: Path, on: str, split: str, as_json: bool) -> None:
    """Measure a model folder: its metric with a 95 % interval over speakers (or samples), and the confusion matrix."""
    from workspace.model_evaluation import evaluate_model

    _be_quiet(True)
    measured = evaluate_model(model_folder, on, split)
    if as_json:
        click.echo(json.dumps(asdict(measured), indent=2))
        return
    others = [f"{k} {v:.4f}" for k, v in measured.metrics.items() if "/" not in k and k != measured.metric]
    click.echo(
        f"{measured.metric} {measured.score:.4f}  (95 % interval over {measured.groups} groups: {measured.low:.4f} to "
        f"{measured.high:.4f}), {', '.join(others)}, {measured.samples} samples"
    )
    if not measured.confusion:
        return
    rows = [
        [name, f"{measured.recall[name]:.3f}" if name in measured.recall else "-", *map(str, counts)]
        for name, counts in zip(measured.classes, measured.confusion, strict=True)
    ]
    _table(["true / predicted", "recall", *measured.classes], rows)


@click.command()
@click.argument("model_folder", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "--option", "chosen", multiple=True, metavar="KEY=VALUE", help="What the model's kind lets you choose."
)
@click.option(
    "--attention",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write attention maps there, a PNG for each input.",
)
@json_option
def predict(
    model_folder: Path,
    inputs: tuple[str, ...],
    chosen: tuple[str, ...],
    attention: Path | None,
    as_json: bool,
) -> None:
    """Apply a model to your own inputs: texts, or files of speech or images; `-` reads one a line from standard input."""
    from workspace.model_evaluation import predict as apply

    _be_quiet(True)
    options = dict(_key_and_value(one) for one in chosen)
    given = sys.stdin.read().splitlines() if inputs == ("-",) else [*inputs]
    predictions = apply(model_folder, given, options, attention is not None)
    for number, one in enumerate(predictions):
        if attention is not None and one.attention:
            from workspace.attention_plot import save_attention

            save_attention(one.attention, attention / f"{number}.png")
        if as_json:
            told = {"input": one.input, "output": one.output, "scores": dict(one.scores)}
            click.echo(json.dumps(told, ensure_ascii=False))
        else:
            score = one.scores.get(one.output)
            click.echo(f"{one.input}\t{one.output}" + (f"\t{score:.3f}" if score is not None else ""))


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text}: write it as KEY=VALUE", param_hint="--option")
    return key, value


def _baseline(
    plan: str,
    overrides: tuple[str, ...],
    federation_path: str,
    envoy: str | None,
    output: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    from federation.federation_file import load_federation
    from federation.plan import load_plan
    from workspace.baseline_run import run_baseline
    from workspace.progress import StepProgress

    _be_quiet(True)
    checked = load_plan(plan, overrides)
    with StepProgress(envoy or "central", checked.aggregator.rounds_to_train, not quiet) as progress:
        summary = run_baseline(checked, load_federation(federation_path), output, envoy, progress.take)
    _print_summary(asdict(summary), as_json)


def _be_quiet(quiet: bool) -> None:
    """Keep the learning libraries' own progress bars and notes off the terminal."""
    if quiet:
        from workspace.quiet import quiet_libraries

        quiet_libraries()


def _print_summary(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    for key, value in summary.items():
        click.echo(f"{key:20} {', '.join(map(str, value)) if isinstance(value, list) else value}")


def _table(columns: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        # Whoever pipes a table wants all of it.
        console.width = 400
    console.print(table)
