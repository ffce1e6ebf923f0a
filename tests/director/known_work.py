"""Work whose results are known: what envoys train and count, the sum of it, and a simulation of a run with it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from director.rows import EventRow
from federation.engine.aggregator import Aggregator
from federation.engine.build import build_aggregator
from federation.engine.results import ClosedRound, TaskOutput
from federation.plan import CheckedPlan
from federation.tensors import Tensors
from tests.deployment import WORDS
from tests.director.in_process import MODEL, TRAIN
from workspace.simulation.cohorts import read_cohorts

TWINS = {"west": "east"}


def update(name: str, number: int) -> Tensors:
    """What an envoy trains in a round: always the same; twins train the same."""
    random = np.random.default_rng([zlib.crc32(TWINS.get(name, name).encode()), number])
    return {key: random.normal(size=value.shape).astype(np.float32) for key, value in MODEL.items()}


def samples(name: str) -> int:
    return 10 * len(name)


def sums(name: str, number: int) -> Tensors:
    """How many of an envoy's samples are right, in a round."""
    right = zlib.crc32(f"{name} {number}".encode()) % samples(name)
    confusion = np.zeros((len(WORDS), len(WORDS)), np.int64)
    confusion[0, :2] = right, samples(name) - right
    return {
        "confusion": confusion,
        "loss_sum": np.asarray(float(samples(name))),
        "samples": np.asarray(samples(name), np.int64),
    }


def sum_of(names: Sequence[str], number: int) -> Tensors:
    """The average of what some envoys have trained in a round, weighted by their samples, in the order of their names."""
    total = sum(map(samples, names))
    weights = [samples(name) / total for name in names]
    updates = [update(name, number) for name in names]
    return {
        key: sum(u[key] * weight for u, weight in zip(updates, weights, strict=True)) / sum(weights)
        for key in MODEL
    }


def same_bits(one: Tensors, other: Tensors) -> bool:
    return {n: v.tobytes() for n, v in one.items()} == {n: v.tobytes() for n, v in other.items()}


class Kept:
    """The record of a simulation, as far as it is looked at."""

    def __init__(self) -> None:
        self.closed: list[ClosedRound] = []

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        self.closed.append(closed)
        return closed.model

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def simulated(
    path: Path, events: Sequence[EventRow], plan: CheckedPlan, envoys: Collection[str]
) -> tuple[Aggregator, Kept]:
    """Run a plan with the cohorts that events tell, by way of a file like the output of `fed watch --json`."""
    path.write_text("".join(json.dumps({"kind": e.kind, "body": dict(e.body)}) + "\n" for e in events))
    planned = read_cohorts(path, envoys, plan.aggregator.rounds_to_train)
    record = Kept()
    aggregator = build_aggregator(plan, sorted(envoys), MODEL, record, planned=planned)
    aggregator.go_on()
    while not aggregator.finished:
        number = aggregator.round_number
        for name in sorted(aggregator.members, reverse=True):
            for task in aggregator.get_tasks(name)[0] or []:
                output = TaskOutput(update(name, number) if task == TRAIN else {}, sums(name, number))
                aggregator.send_local_task_results(name, number, task, samples(name), output)
        assert aggregator.failure is None
        assert aggregator.finished or aggregator.round_number > number, "the simulation waits for ever"
    return aggregator, record
