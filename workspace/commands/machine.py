"""The commands of a workspace that need no director, but this machine: simulations, baselines, evaluation and predictions."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from workspace.commands.common import (
    be_quiet,
    federation_option,
    json_option,
    print_table,
    quiet_option,
    with_plan,
)


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
@click.option(
    "--cohorts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Run each round with the envoys that counted in a run: the output of `fed watch --json`.",
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
    cohorts: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a plan on this machine, over the envoys of a federation file."""
    from federation.federation_file import load_federation
    from federation.plan import load_plan
    from workspace.progress import RoundProgress
    from workspace.simulation.cohorts import read_cohorts
    from workspace.simulation.run import simulate

    be_quiet(True)
    checked, federation = load_plan(plan, overrides), load_federation(federation_path)
    rounds = checked.aggregator.rounds_to_train
    given = None if cohorts is None else read_cohorts(cohorts, federation.envoys, rounds)
    with RoundProgress(checked.name, rounds, not quiet) as progress:
        summary = simulate(checked, federation, output, processes, progress.take, device, given)
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

    be_quiet(True)
    measured = evaluate_model(model_folder, on, split)
    if as_json:
        click.echo(json.dumps(asdict(measured), indent=2))
        return
    others = [f"{k} {v:.4f}" for k, v in measured.metrics.items() if "/" not in k and k != measured.metric]
    click.echo(
        f"{measured.metric} {measured.score:.4f}  (95 % interval over {measured.groups} {measured.group_name}: "
        f"{measured.low:.4f} to {measured.high:.4f}), {', '.join(others)}, {measured.samples} samples"
    )
    if measured.caution:
        click.echo(measured.caution)
    if not measured.confusion:
        return
    rows = [
        [name, f"{measured.recall[name]:.3f}" if name in measured.recall else "-", *map(str, counts)]
        for name, counts in zip(measured.classes, measured.confusion, strict=True)
    ]
    print_table(["true / predicted", "recall", *measured.classes], rows)


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

    be_quiet(True)
    options = dict(_key_and_value(one) for one in chosen)
    given = _standard_input() if inputs == ("-",) else [*inputs]
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


def _standard_input() -> list[str]:
    from federation.text_files import decoded, lines_of

    return lines_of(decoded(sys.stdin.buffer.read(), "standard input"))


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
    from workspace.progress import StepProgress
    from workspace.simulation.baseline import run_baseline

    be_quiet(True)
    checked = load_plan(plan, overrides)
    with StepProgress(envoy or "central", checked.aggregator.rounds_to_train, not quiet) as progress:
        summary = run_baseline(checked, load_federation(federation_path), output, envoy, progress.take)
    _print_summary(asdict(summary), as_json)


def _print_summary(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    for key, value in summary.items():
        click.echo(f"{key:20} {', '.join(map(str, value)) if isinstance(value, list) else value}")
