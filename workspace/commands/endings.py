"""What commands say when an experiment or a training has ended: its score, where its model is, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from federation.printing import printable
from federation.tables import NOTHING, print_table
from workspace.amounts import duration, size
from workspace.metrics import headline

if TYPE_CHECKING:
    from workspace.infos import ExperimentInfo

Metrics = Mapping[str, float]


def tell_experiment(info: ExperimentInfo, metric: str, reach: Sequence[str], err: bool = False) -> None:
    """Say how an experiment at a director has ended.

    Parameters
    ----------
    info
        Of an experiment that has finished.
    metric
        What its best score is of; empty if that is not known.
    reach
        The options by which the director was reached, which the next command needs as well.
    err
        On standard error.
    """
    took = duration(info.ended - info.created)
    lines = [f"{info.name}: {info.state} after {_count(info.rounds, 'round')}, {took} after it was submitted"]
    if told := _best(info, info.best_metric or metric or "score"):
        lines.append(f"{told} of {info.rounds}")
    lines.append(f"take it home: {_command('fed', 'model', info.name, '-o', info.name, *reach)}")
    for line in lines:
        click.echo(printable(line), err=err)


def tell_stopped(info: ExperimentInfo, reach: Sequence[str]) -> None:
    """Say where an experiment was stopped, and how it is gone on with."""
    parts = [
        f"{info.name}: {info.state} after {info.round} of {_count(info.rounds, 'round')}",
        _best(info, info.best_metric or "score"),
    ]
    click.echo(printable("; ".join(part for part in parts if part)))
    click.echo(printable(f"go on: {_command('fed', 'resume', info.name, *reach)}"))


def _best(info: ExperimentInfo, metric: str) -> str:
    if info.best_round is None or info.best_score is None:
        return ""
    return f"best: {metric} {info.best_score:.4f}, after round {info.best_round}"


def tell_simulation(summary: Mapping[str, Any], folder: Path, federation_path: str) -> None:
    """Say what a simulation came to: the best and the last model on the test shard, side by side."""
    envoys, best = summary["envoys"], summary["best_round"]
    click.echo(
        printable(
            f"{summary['plan']}: {_count(summary['rounds'], 'round')} over {_count(len(envoys), 'envoy')} "
            f"({', '.join(envoys)}) in {duration(summary['seconds'])}; in a round each sends "
            f"{size(summary['exchanged_bytes'])} and receives as much; {_memory(summary)}"
        )
    )
    last = f"last model, round {summary['rounds']}"
    _print_metrics(
        "on the test shard",
        {f"best model, round {best}" if best >= 0 else last: summary["test"], last: summary["last_test"]},
        f"{federation_path} has no test shard: nothing was tested",
    )
    _tell_next(summary["test"], folder, federation_path)


def tell_baseline(summary: Mapping[str, Any], folder: Path, federation_path: str) -> None:
    """Say what a training without a federation came to, on validation and test samples."""
    data = (
        "the data of all envoys" if summary["data"] == "central" else f"the data of {summary['data']} alone"
    )
    click.echo(
        printable(
            f"{summary['plan']}: {_count(summary['rounds'], 'round')} on {data} in {duration(summary['seconds'])}; "
            f"{_count(summary['steps'], 'optimiser step')}, {_count(summary['samples'], 'sample')} seen; {_memory(summary)}"
        )
    )
    _print_metrics(
        f"best model, round {summary['best_round']}",
        {"validation": summary["validation"], "test": summary["test"]},
        "there were neither validation nor test samples: nothing was measured",
    )
    if interval := summary["test_interval"]:
        name = headline(summary["test"])
        click.echo(f"95 % interval of the test {name}: {interval[0]:.4f} to {interval[1]:.4f}")
    _tell_next(summary["test"], folder, federation_path)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _memory(summary: Mapping[str, Any]) -> str:
    return f"{summary['peak_memory_mb']:.0f} MiB of memory at most"


def _print_metrics(heading: str, columns: Mapping[str, Metrics | None], empty: str) -> None:
    """Print all metrics, those of single classes last, the one that a result is told by first."""
    known = {name: metrics for name, metrics in columns.items() if metrics}
    found = dict.fromkeys(name for metrics in known.values() for name in metrics)
    first = headline(dict.fromkeys(found, 0.0))
    rows = [
        [metric.replace("/", " of ", 1), *(_number(metrics.get(metric)) for metrics in known.values())]
        for metric in sorted(found, key=lambda name: ("/" in name, name != first))
    ]
    print_table([heading, *known], rows, empty, right=list(known), wraps=[heading])


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _tell_next(test: Metrics | None, folder: Path, federation_path: str) -> None:
    model = str(folder / "model")
    measure = _command("fed", "evaluate", model, "--on", federation_path)
    use = f"fed predict {shlex.quote(model)} INPUT..."
    click.echo(printable(f"model: {model}; all numbers: {folder / 'summary.json'}"))
    click.echo(printable(f"measure it with an interval: {measure}" if test else f"use it: {use}"))


def _command(*words: str) -> str:
    return shlex.join(words)
