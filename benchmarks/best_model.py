"""Which of a run's models to take home: what each way of choosing gives on other people; makes a table in plans/README.md.

    SPEECH_COMMANDS_ROOT=... UCI_SENTIMENT_ROOT=... OMP_NUM_THREADS=1 python benchmarks/best_model.py

A draw is a federated run of a tiny plan over three envoys, with validation and test samples drawn anew: the ten words by
speakers, forty rounds; sentences, a site to each envoy, the plan's twelve rounds. The model that each round begins with, and
the last one, are validated by the envoys, as ever, and measured on the test samples. So each way of choosing chooses among the
same models; "the test itself" is what nobody can choose by. A row's difference is to the first way, draw by draw, with the
95 % interval of Student's t over the draws. What is there already is not run again; runs are one after another.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import real_sentiment
import real_speech_commands
from scipy import stats

from federation.engine.results import ClosedRound, OpenedRound, Standing, TaskResult
from federation.federation_file import FederationFile, load_federation, open_shard
from federation.plan import CheckedPlan, load_plan
from federation.tensors import Tensors

PLANS = {"keyword_spotting_tiny": "SPEECH_COMMANDS_ROOT", "sentiment_tiny": "UCI_SENTIMENT_ROOT"}
NEW_DRAWS = [101, 102, 103, 104, 105]
Run = list[
    dict[str, dict[str, float]]
]  # of each model, the untrained one first: its metrics on "validation" and "test"
WAYS: dict[str, Callable[[Run], float]] = {
    "validation accuracy": lambda run: run[_best(run, "validation", "accuracy")]["test"]["accuracy"],
    "validation loss": lambda run: run[_best(run, "validation", "loss")]["test"]["accuracy"],
    "validation macro F1": lambda run: run[_best(run, "validation", "macro_f1")]["test"]["accuracy"],
    "the last model": lambda run: run[-1]["test"]["accuracy"],
    "the test itself": lambda run: max(model["test"]["accuracy"] for model in run),
}


def _best(run: Run, split: str, metric: str) -> int:
    """Return which model is the best, the earlier of equal ones, as the aggregator chooses."""
    sign = -1 if metric == "loss" else 1
    scores = [sign * model[split][metric] for model in run]
    return scores.index(max(scores))


class EveryModel:
    """The `federation.engine.results.Record` of a run of which every model is kept, with its validation."""

    def __init__(self, initial: Tensors, validation: str) -> None:
        self._next, self._validation = initial, validation
        self.models: list[tuple[Tensors, Mapping[str, float]]] = []
        self.failure = ""

    def result(self, result: TaskResult) -> None:
        """Keep nothing."""

    def open_round(self, opened: OpenedRound) -> None:
        """Keep nothing."""

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        """Keep the model that the round began with."""
        self.models.append((self._next, closed.metrics[self._validation]))
        self._next = self._next if closed.model is None else closed.model
        return self._next

    def standing(self, change: Standing) -> None:
        """Keep why an envoy failed."""
        self.failure = change.reason

    def end(self, state: str, reason: str) -> None:
        """Keep why it ended."""
        self.failure = reason

    def event(self, kind: str, **body: Any) -> None:
        """Keep nothing."""


def every_model(plan: CheckedPlan, federation: FederationFile) -> Run:
    """Run a plan, and measure each of its models."""
    from federation.engine.assigner import validates_the_aggregate
    from federation.engine.build import Site, build_aggregator, build_collaborator
    from federation.engine.client import DirectClient
    from federation.federation_file import samples_of
    from federation.statistics import derive
    from workspace.initial_exchange import initial_exchange
    from workspace.learning.exchange import load_exchanged
    from workspace.learning.training import evaluate
    from workspace.simulation.turns import TurnClient, take_turns

    names = sorted(federation.envoys)
    shards = {name: open_shard(federation.envoys[name].shard_descriptor) for name in names}
    exchange = initial_exchange(plan, {})
    tasks = json.loads(plan.to_json())["tasks"]
    validation = next(n for n, task in tasks.items() if "function" in task and validates_the_aggregate(task))
    record = EveryModel(exchange.tensors, validation)
    samples = {name: samples_of(shard) for name, shard in shards.items()}
    aggregator = build_aggregator(plan, names, exchange.tensors, record, samples=samples)
    aggregator.go_on()
    clients = {name: TurnClient(DirectClient(aggregator, name)) for name in names}
    collaborators = [
        build_collaborator(
            plan, shards[name], clients[name], Site(name, "cpu", {}, exchange.frozen_fingerprint)
        )
        for name in names
    ]
    take_turns(collaborators, clients, aggregator.fail, aggregator.wait_for_work)
    if not aggregator.finished:
        raise SystemExit(f"the run failed: {record.failure}")
    assert federation.test is not None
    split = open_shard(federation.test.shard_descriptor).split("test")
    found: Run = []
    for tensors, validated in record.models:
        load_exchanged(exchange.model, tensors, exchange.recipe.role)
        sums = evaluate(exchange.recipe, exchange.model, split, plan.task_runner, device="cpu")
        tested = derive(plan.federation.metrics, sums, plan.federation.classes)
        found.append({"validation": dict(validated), "test": tested})
    return found


def draw(
    name: str, root: Path, seed: int, folder: Path, sets: list[str]
) -> tuple[CheckedPlan, FederationFile]:
    """Return plan and federation of one draw."""
    sets = [f"federation.settings.seed={seed}", *sets]
    if name == "keyword_spotting_tiny":
        words = real_speech_commands.TEN_WORDS
        file = real_speech_commands.write_federation(folder, root, words, seed)
        federation = load_federation(file)
        sets = [
            f"federation.settings.classes={json.dumps(words)}",
            "aggregator.settings.rounds_to_train=40",
            *sets,
        ]
    else:
        federation = load_federation(real_sentiment.write_federation(folder, root, "source", seed))
        words_file = real_sentiment.write_vocabulary(federation, folder / "vocabulary.txt").resolve()
        sets = [f"task_runner.settings.vocabulary_file={words_file}", *sets]
    return load_plan(f"plans/{name}.yaml", sets), federation


def compare(runs: list[Run]) -> dict[str, dict[str, Any]]:
    """Return what each way of choosing gives over several draws."""
    scores = {way: np.array([choose(run) for run in runs]) for way, choose in WAYS.items()}
    first = next(iter(scores.values()))
    rows: dict[str, dict[str, Any]] = {}
    for way, values in scores.items():
        more = values - first
        wide = (
            stats.t.ppf(0.975, len(runs) - 1) * more.std(ddof=1) / len(runs) ** 0.5 if len(runs) > 1 else 0.0
        )
        rows[way] = {
            "draws": len(runs),
            "accuracy": float(values.mean()),
            "worst": float(values.min()),
            "more": [float(more.mean()), float(more.mean() - wide), float(more.mean() + wide)],
            "better_and_worse": [int((more > 0).sum()), int((more < 0).sum())],
        }
    return rows


def main() -> None:
    """Run what is not there yet, then print the table."""
    from workspace.quiet import quiet_libraries

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/best_model"))
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=list(PLANS))
    parser.add_argument("--seeds", type=int, nargs="+", default=NEW_DRAWS)
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    for name in options.plans:
        if not os.environ.get(PLANS[name]):
            parser.error(f"name the folder of the data of {name}: {PLANS[name]}")
    quiet_libraries()
    runs: dict[str, list[Run]] = {name: [] for name in options.plans}
    for seed in options.seeds:
        for name in options.plans:
            folder = options.output / f"{name}-{seed}"
            file = folder / "models.json"
            if not file.is_file():
                began = time.monotonic()
                root = Path(os.environ[PLANS[name]]).resolve()
                found = every_model(*draw(name, root, seed, folder, options.sets))
                file.write_text(json.dumps(found))
                if not options.json:
                    print(f"done: {folder.name}, {time.monotonic() - began:.0f} s", flush=True)
            runs[name].append(json.loads(file.read_text()))
    compared = {name: compare(found) for name, found in runs.items()}
    if options.json:
        print(json.dumps(compared, indent=1))
        return
    print(
        "| plan | chosen by | test accuracy | the worst draw | more than the first | better, worse, of draws |"
    )
    print("|---" * 6 + "|")
    for name, rows in compared.items():
        for way, row in rows.items():
            more = "{:+.3f} ({:+.3f} to {:+.3f})".format(*row["more"])
            better, worse = row["better_and_worse"]
            cells = [
                f"{row['accuracy']:.3f}",
                f"{row['worst']:.3f}",
                more,
                f"{better}, {worse}, of {row['draws']}",
            ]
            print(f"| `{name}` | {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
