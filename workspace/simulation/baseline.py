"""``fed central`` and ``fed local``: a plan's training without a federation, on a federation file's data."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from federation.errors import InputError
from federation.federation_file import EnvoyEntry, FederationFile, open_shard
from federation.files import write_whole
from federation.plan import CheckedPlan
from shard_descriptors.descriptor import ShardDescriptor, concatenate
from workspace.initial_exchange import InitialExchange, initial_exchange
from workspace.learning.baselines import train_alone
from workspace.learning.evaluation import measure
from workspace.model_folder import write_model_folder
from workspace.simulation.earlier import earlier
from workspace.simulation.identity import identity
from workspace.simulation.memory import peak_memory_mb
from workspace.simulation.run_folder import METRICS, MODEL, SUMMARY, RunFolder, write_json


@dataclass(frozen=True)
class BaselineSummary:
    """What a baseline leaves in ``summary.json``.

    ``state`` is "finished" or "interrupted": then ``rounds`` are those that were done, and nothing has been tested.
    What is said of the test is None without a test shard in the federation file, and accuracies are where there are no classes.
    ``validation`` and ``test`` hold all metrics.
    """

    plan: str
    data: str
    state: str
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
    *,
    force: bool = False,
) -> BaselineSummary:
    """Train on all envoys' samples pooled, or on one envoy's alone; writes ``summary.json``, ``metrics.jsonl`` and ``model/``.

    Interrupted by Ctrl-C it writes what it has reached, untested.

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
    force
        Replace what another run has left in the folder.

    Raises
    ------
    InputError
        If there is no such envoy, its data cannot be used, or the folder holds another run.
    """
    entries = _entries(federation, envoy)
    with RunFolder(folder).held() as own:
        own.require_free(force)
        torch.set_num_threads(plan.federation.torch_threads)
        shards = {name: open_shard(entry.shard_descriptor) for name, entry in entries.items()}
        exchange = initial_exchange(plan, federation.checkpoints, partial(earlier, folder))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        data = {name: shard.fingerprint() for name, shard in shards.items()}
        own.begin(identity("local" if envoy else "central", plan, data, device))
        with own.ended():
            summary = _run(plan, federation, own, envoy, exchange, list(shards.values()), device, notice)
            if summary.state == "interrupted":
                raise KeyboardInterrupt
        own.end("finished")
        return summary


def _run(
    plan: CheckedPlan,
    federation: FederationFile,
    own: RunFolder,
    envoy: str | None,
    exchange: InitialExchange,
    shards: Sequence[ShardDescriptor],
    device: str,
    notice: Callable[[float, str], None] | None,
) -> BaselineSummary:
    recipe = exchange.recipe
    result = train_alone(
        recipe,
        plan.task_runner,
        concatenate([shard.split("train") for shard in shards]),
        concatenate([shard.split("validation") for shard in shards]),
        rounds=plan.aggregator.rounds_to_train,
        seed=plan.federation.seed,
        site=envoy or "central",
        device=device,
        best_metric=plan.aggregator.best_metric,
        maximize=plan.aggregator.best_direction == "maximize",
        kind=plan.federation.metrics,
        notice=notice,
        model=exchange.model,
    )
    test, interrupted = None, result.interrupted
    if federation.test is not None and not interrupted:
        try:
            shard = open_shard(federation.test.shard_descriptor)
            test = measure(
                recipe,
                result.model,
                shard.split("test"),
                plan.task_runner,
                device=device,
                group_name=shard.group_name,
                without_groups=shard.without_groups,
            )
        except KeyboardInterrupt:
            interrupted = True
    if result.rounds:
        write_model_folder(own.path / MODEL, lambda folder: recipe.export(result.model, folder), force=True)
    rows = ({"round": number, **row} for number, row in enumerate(result.metrics, 1))
    write_whole(own.path / METRICS, "".join(json.dumps(row) + "\n" for row in rows).encode())
    validation = result.metrics[result.best_round - 1] if result.metrics else None
    summary = BaselineSummary(
        plan=plan.name,
        data=envoy or "central",
        state="interrupted" if interrupted else "finished",
        rounds=result.rounds,
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
    write_json(own.path / SUMMARY, asdict(summary))
    return summary


def _entries(federation: FederationFile, envoy: str | None) -> dict[str, EnvoyEntry]:
    if envoy is None:
        return dict(sorted(federation.envoys.items()))
    if envoy not in federation.envoys:
        raise InputError(f"--envoy {envoy}: the federation file has {', '.join(sorted(federation.envoys))}")
    return {envoy: federation.envoys[envoy]}
