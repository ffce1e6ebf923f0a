"""``fed central`` and ``fed local``: a plan's training without a federation, on a federation file's data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from federation.errors import InputError
from federation.federation_file import EnvoyEntry, FederationFile, open_shard
from federation.permissions import follow_umask
from federation.plan import CheckedPlan
from shard_descriptors.descriptor import concatenate
from workspace.initial_exchange import build_model
from workspace.learning.baselines import train_alone
from workspace.learning.evaluation import measure
from workspace.simulation.memory import peak_memory_mb


@dataclass(frozen=True)
class BaselineSummary:
    """What a baseline leaves in ``summary.json``.

    What is said of the test is None without a test shard in the federation file, and accuracies are where there are no classes.
    ``validation`` and ``test`` hold all metrics.
    """

    plan: str
    data: str
    rounds: int
    best_round: int
    steps: int
    samples: int
    validation_accuracy: float | None
    test_accuracy: float | None
    test_interval: tuple[float, float] | None
    validation: dict[str, float] | None
    test: dict[str, float] | None
    seconds: float
    peak_memory_mb: float


def run_baseline(
    plan: CheckedPlan,
    federation: FederationFile,
    folder: Path,
    envoy: str | None = None,
    notice: Callable[[float, str], None] | None = None,
) -> BaselineSummary:
    """Train on all envoys' samples pooled, or on one envoy's alone; writes ``summary.json``, ``metrics.jsonl`` and ``model/``.

    Parameters
    ----------
    plan
        Checked.
    federation
        Names the envoys' data, and the test shard.
    folder
        Made if it is not there.
    envoy
        Whose data; None pools all. The best model is chosen on the validation samples of the same envoys.
    notice
        Told how far it is.

    Raises
    ------
    InputError
        If there is no such envoy, or its data cannot be used.
    """
    entries = _entries(federation, envoy)
    torch.set_num_threads(plan.federation.torch_threads)
    shards = [open_shard(entry.shard_descriptor) for entry in entries]
    recipe, _ = build_model(plan, federation.checkpoints)
    result = train_alone(
        recipe,
        plan.task_runner,
        concatenate([shard.split("train") for shard in shards]),
        concatenate([shard.split("validation") for shard in shards]),
        rounds=plan.aggregator.rounds_to_train,
        seed=plan.federation.seed,
        site=envoy or "central",
        device="cuda" if torch.cuda.is_available() else "cpu",
        best_metric=plan.aggregator.best_metric,
        maximize=plan.aggregator.best_direction == "maximize",
        kind=plan.federation.metrics,
        notice=notice,
    )
    test = None
    if federation.test is not None:
        shard = open_shard(federation.test.shard_descriptor)
        device = next(result.model.parameters()).device
        test = measure(
            recipe,
            result.model,
            shard.split("test"),
            plan.task_runner,
            device=device,
            group_name=shard.group_name,
            without_groups=shard.without_groups,
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model").mkdir(exist_ok=True)
    recipe.export(result.model, folder / "model")
    follow_umask(folder)
    rows = ({"round": number, **row} for number, row in enumerate(result.metrics, 1))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    validation = result.metrics[result.best_round - 1] if result.metrics else None
    summary = BaselineSummary(
        plan=plan.name,
        data=envoy or "central",
        rounds=plan.aggregator.rounds_to_train,
        best_round=result.best_round,
        steps=result.steps,
        samples=result.samples,
        validation_accuracy=validation.get("accuracy") if validation else None,
        test_accuracy=test.accuracy if test else None,
        test_interval=(test.low, test.high) if test else None,
        validation=validation,
        test=test.metrics if test else None,
        seconds=round(result.seconds, 1),
        peak_memory_mb=peak_memory_mb(),
    )
    (folder / "summary.json").write_text(json.dumps(asdict(summary), indent=2) + "\n")
    return summary


def _entries(federation: FederationFile, envoy: str | None) -> list[EnvoyEntry]:
    if envoy is None:
        return [federation.envoys[name] for name in sorted(federation.envoys)]
    if envoy not in federation.envoys:
        raise InputError(f"--envoy {envoy}: the federation file has {', '.join(sorted(federation.envoys))}")
    return [federation.envoys[envoy]]
