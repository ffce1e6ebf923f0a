"""The commands of a workspace that need no director, but this machine: simulations, baselines, evaluation and predictions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from federation.printing import printable
from workspace.commands.common import (
    be_quiet,
    device_option,
    federation_option,
    force_option,
    json_option,
    make_output,
    output_option,
    quiet_option,
    require_device,
    with_plan,
)

# A translation may be long, and is one line.
MOST_OF_A_LINE = 20_000


@click.command()
@with_plan
@federation_option
@output_option
@force_option
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in the folder, with the same bits; begin if there is none.",
)
@click.option(
    "--processes", default=1, show_default=True, type=click.IntRange(1, 256), help="That share the envoys."
)
@device_option
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
    force: bool,
    resume: bool,
    processes: int,
    device: str,
    cohorts: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a plan on this machine, over the envoys of a federation file."""
    from workspace.simulation.run_folder import RunFolder

    if force and resume:
        raise click.UsageError("--resume goes on with what --force would replace; give one of them")
    RunFolder(output).require_free(force or resume)

    from federation.federation_file import load_federation
    from federation.plan import load_plan
    from workspace.commands.endings import tell_simulation
    from workspace.progress import RoundProgress
    from workspace.simulation.cohorts import read_cohorts

    checked, federation = load_plan(plan, overrides), load_federation(federation_path)
    rounds = checked.aggregator.rounds_to_train
    decided_by = (checked.aggregator.best_metric, checked.aggregator.best_direction == "maximize")
    given = None if cohorts is None else read_cohorts(cohorts, federation.envoys, rounds)
    # Which takes seconds: what is wrong with files and folders has been said before.
    make_output(output)
    require_device(device)
    be_quiet(True)
    from workspace.simulation.run import simulate

    with (
        _told_where(output, " with --resume"),
        RoundProgress(checked.name, rounds, not quiet, decided_by) as progress,
    ):
        summary = simulate(
            checked,
            federation,
            output,
            processes,
            progress.take,
            device,
            given,
            force=force,
            resume=resume,
        )
    if as_json:
        click.echo(json.dumps(asdict(summary), indent=2))
        return
    tell_simulation(asdict(summary), output, federation_path)


@click.command()
@with_plan
@federation_option
@output_option
@force_option
@quiet_option
@json_option
def central(
    plan: str,
    overrides: tuple[str, ...],
    federation_path: str,
    output: Path,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train on all envoys' data pooled: the baseline from above."""
    _baseline(plan, overrides, federation_path, None, output, force, quiet, as_json)


@click.command()
@with_plan
@federation_option
@click.option("--envoy", required=True, help="Whose data.")
@output_option
@force_option
@quiet_option
@json_option
def local(
    plan: str,
    overrides: tuple[str, ...],
    federation_path: str,
    envoy: str,
    output: Path,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train on one envoy's data alone: the baseline from below."""
    _baseline(plan, overrides, federation_path, envoy, output, force, quiet, as_json)


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
    from federation.federation_file import load_federation

    _require_model(model_folder)
    load_federation(on)
    be_quiet(True)
    from workspace.commands.confusion import print_confusion
    from workspace.model_evaluation import evaluate_model

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
    print_confusion(measured)


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
    options = dict(_key_and_value(one) for one in chosen)
    _require_model(model_folder)
    if attention is not None:
        make_output(attention)
    be_quiet(True)
    from workspace.model_evaluation import predict as apply

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
            line = [printable(one.input, MOST_OF_A_LINE), printable(one.output, MOST_OF_A_LINE)]
            click.echo("\t".join([*line, *([] if score is None else [f"{score:.3f}"])]))


def _standard_input() -> list[str]:
    from federation.text_files import decoded, lines_of

    return lines_of(decoded(sys.stdin.buffer.read(), "standard input"))


def _require_model(folder: Path) -> None:
    """Say that there is no model before the libraries are imported that would read it."""
    from federation.errors import InputError

    if not (folder / "config.json").is_file():
        what = "there is no such folder" if not folder.exists() else "holds no config.json, and so no model"
        raise InputError(
            f"{folder}: {what}; MODEL is a folder that `fed model`, `fed simulate` or `fed central` has written"
        )


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
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from workspace.simulation.run_folder import RunFolder

    RunFolder(output).require_free(force)

    from federation.document import nearest
    from federation.errors import InputError
    from federation.federation_file import load_federation
    from federation.plan import load_plan
    from workspace.commands.endings import tell_baseline
    from workspace.progress import StepProgress

    checked, federation = load_plan(plan, overrides), load_federation(federation_path)
    if envoy is not None and envoy not in federation.envoys:
        raise InputError(
            f"--envoy: {federation_path} has no envoy {envoy}{nearest(envoy, federation.envoys)}"
        )
    make_output(output)
    be_quiet(True)
    from workspace.simulation.baseline import run_baseline

    rounds = checked.aggregator.rounds_to_train
    with _told_where(output), StepProgress(envoy or "central", rounds, not quiet) as progress:
        summary = run_baseline(checked, federation, output, envoy, progress.take, force=force)
    if as_json:
        click.echo(json.dumps(asdict(summary), indent=2))
        return
    tell_baseline(asdict(summary), output, federation_path)


@contextmanager
def _told_where(output: Path, goes_on: str = "") -> Iterator[None]:
    """Say where what an interrupted run has reached lies, and how it is gone on with."""
    try:
        yield
    except KeyboardInterrupt:
        kept = (output / "summary.json").is_file()
        if kept:
            more = f"; the same command{goes_on} goes on" if goes_on else ""
            click.echo(printable(f"fed: interrupted; what was reached is in {output}{more}"), err=True)
        raise
