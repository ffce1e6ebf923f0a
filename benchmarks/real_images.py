"""Image classification on real images: makes the tables in plans/README.md and docs/images.md.

    MNIST_PNG_ROOT=... FLOWERS_ROOT=... python benchmarks/real_images.py [federation flowers head strategies augmentation norm]

Three envoys, test sets drawn anew for each seed. Each run does what `fed simulate`, `fed central` or `fed local` does, in this
process and on one core; what is there already is not run again. An interval is a bootstrap over the test images of all seeds.

``federation`` and ``flowers``: plans/image_tiny.yaml from random weights, against the baselines. The other parts fine-tune:
the same network is first trained centrally on the digits 0 to 4 and exported; the envoys then learn the digits 5 to 9 from a
fifth of what images there are. A learning rate is chosen by validation, as a mean over the seeds. Seconds are of this process's
processor time, measured apart from the runs, the variants in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
import yaml

ENVOYS = ("north", "south", "west")
RUNS = ("federated", "central", *(f"local: {name}" for name in ENVOYS))
PARTITIONS = ("stride", "dirichlet")
PLAN = "plans/image_tiny.yaml"
PRETRAINED = "here/digits-0-to-4"
ROUNDS = 15
REACHED = 0.9
# The learning rates of the network, and the factors of the head's that are tried with each.
FACTORS = {1e-3: (1, 3, 10, 30), 1e-2: (1, 10)}
LOCAL_TOO = "assigner.settings.task_groups.0.tasks=[aggregated_model_validation, train, locally_tuned_model_validation]"
POLICIES = ("none", "standard", "randaugment", "double", "quadruple", "octuple")


def at(factor: float, rate: float) -> list[str]:
    """Return the overrides of two learning rates. A factor of 1 is ``strategy: full``, bit for bit."""
    return [
        "task_runner.settings.strategy=discriminative",
        f"task_runner.settings.head_learning_rate_factor={float(factor)}",
        f"task_runner.settings.learning_rate={rate:g}",
    ]


# What is trained, at the learning rates that are tried.
STRATEGIES: dict[str, dict[float, list[str]]] = {
    "head": {
        rate: ["task_runner.settings.strategy=head", f"task_runner.settings.learning_rate={rate:g}"]
        for rate in (1e-2, 1e-1)
    },
    "full": {rate: at(1, rate) for rate in FACTORS},
    "discriminative": {rate: at(10, rate) for rate in FACTORS},
    "gradual": {
        rate: ["task_runner.settings.strategy=gradual", f"task_runner.settings.learning_rate={rate:g}"]
        for rate in FACTORS
    },
}


class Bench:
    """Where data and results lie, and which seeds are run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.output: Path = options.output
        self.seeds: list[int] = options.seeds
        self.roots = {"mnist": options.mnist, "flowers": options.flowers}

    def federation(
        self, folder: Path, data: str, seed: int, checkpoints: bool = False, **settings: Any
    ) -> Path:
        """Write the federation file of one seed."""
        root = self.roots[data]
        if root is None:
            raise SystemExit(f"name the folder of {data}: --{data} or its environment variable")
        base = {
            "dataset": data,
            "root": str(root.resolve()),
            "worldsize": len(ENVOYS),
            "seed": seed,
        } | settings

        def entry(rank: int) -> dict[str, Any]:
            template = "shard_descriptors.images.image_folder.ImageFolderShard"
            return {"shard_descriptor": {"template": template, "settings": base | {"rank": rank}}}

        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {"envoys": {name: entry(rank) for rank, name in enumerate(ENVOYS)}}
        content["test"] = entry(0)
        if checkpoints:
            content["checkpoints"] = {PRETRAINED: str((self.output / "pretrained" / "model").resolve())}
        file = folder / "federation.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return file

    def run(self, run: str, folder: Path, sets: Sequence[str], federation: Path) -> Path:
        """Do one run, unless it is there; return its folder."""
        from federation.federation_file import load_federation
        from federation.plan import load_plan
        from workspace.simulation.baseline import run_baseline
        from workspace.simulation.run import simulate
        from workspace.simulation.run_folder import RunFolder

        if RunFolder(folder).state != "finished":
            plan, envoys = load_plan(PLAN, list(sets)), load_federation(federation)
            if run == "federated":
                simulate(plan, envoys, folder, device="cpu", force=True)
            else:
                run_baseline(plan, envoys, folder, run.partition(": ")[2] or None, force=True)
            print("done:", folder, flush=True)
        return folder

    def pretrain(self) -> None:
        """Train the network centrally on the digits 0 to 4, all of them but a tenth to choose by."""
        classes = [str(digit) for digit in range(5)]
        folder = self.output / "pretrained"
        federation = self.federation(
            folder, "mnist", 1, classes=classes, image_size=32, validation_share=0.1, test_share=0.0
        )
        content = yaml.safe_load(federation.read_text())
        del content["test"]
        federation.write_text(yaml.safe_dump(content, sort_keys=False))
        self.run("central", folder, [f"federation.settings.classes={json.dumps(classes)}"], federation)

    def fine_tune(self, seed: int, sets: Sequence[str], partition: str = "stride") -> Path:
        """Fine-tune on the digits 5 to 9, in a folder that is named after the overrides."""
        self.pretrain()
        folder = self.output / f"finetune-{partition}-{seed}"
        federation = self.federation(
            folder,
            "mnist",
            seed,
            checkpoints=True,
            classes=CLASSES,
            image_size=32,
            validation_share=0.2,
            test_share=0.6,
            check="header",
            partition=partition,
        )
        name = re.sub(r"[^\w.]+", "-", " ".join(one.rpartition("settings.")[2] for one in sets))
        return self.run("federated", folder / (name or "plain"), fine_tuning(seed, sets), federation)


CLASSES = [str(digit) for digit in range(5, 10)]


def fine_tuning(seed: int, sets: Sequence[str]) -> list[str]:
    """Return the overrides of a fine-tuning run."""
    return [
        f"task_runner.settings.checkpoint={PRETRAINED}",
        "task_runner.settings.model=null",
        "task_runner.settings.learning_rate=1e-2",
        "task_runner.settings.augmentation={policy: none, flip: false}",
        "assigner.settings.task_groups.0.tasks=[aggregated_model_validation, train]",
        f"aggregator.settings.rounds_to_train={ROUNDS}",
        f"federation.settings.classes={json.dumps(CLASSES)}",
        f"federation.settings.seed={seed}",
        *sets,
    ]


def sums_of(folder: Path) -> list[Any]:
    """Return the statistics of each part of the test set."""
    from federation.federation_file import load_federation, open_shard
    from workspace.learning.evaluation import sums_by_group
    from workspace.learning.exported import load_exported

    test = load_federation(folder.parent / "federation.yaml").test
    assert test is not None
    recipe, settings, model = load_exported(folder / "model")
    return list(
        sums_by_group(
            recipe, model, open_shard(test.shard_descriptor).split("test"), settings, device="cpu"
        ).values()
    )


def tested(folders: Sequence[Path]) -> str:
    """Write test accuracy and its interval over the images of several test sets."""
    from workspace.learning.evaluation import bootstrap_interval

    def accuracy(sums: Any) -> float:
        return float(np.trace(sums["confusion"]) / sums["samples"])

    sums = [part for folder in folders for part in sums_of(folder)]
    low, high = bootstrap_interval(sums, accuracy)
    return f"{accuracy({name: sum(s[name] for s in sums) for name in sums[0]}):.3f} ({low:.3f}-{high:.3f})"


def validation(folder: Path, task: str = "aggregated_model_validation") -> list[float]:
    """Return the accuracy on all sites' validation images, round by round."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [
        row["value"]
        for row in rows
        if (row["origin"], row["task"], row["metric"]) == ("aggregator", task, "accuracy")
    ]


def spread(values: Sequence[float]) -> str:
    """Write the mean over seeds, and the lowest and highest."""
    return f"{fmean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print("\n| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def federation_part(bench: Bench) -> None:
    """Federated, central and alone, on digits."""
    compare(bench, "mnist", PARTITIONS, {"image_size": 32}, [])


def flowers_part(bench: Bench) -> None:
    """The same on photographs of flowers."""
    classes = ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    sets = [
        f"federation.settings.classes={json.dumps(classes)}",
        "federation.settings.dataset=flowers",
        "task_runner.settings.image_size=64",
        "task_runner.settings.augmentation={policy: standard}",
    ]
    compare(bench, "flowers", ("stride",), {"image_size": 64}, sets)


def compare(
    bench: Bench, data: str, partitions: Sequence[str], shard: dict[str, Any], sets: Sequence[str]
) -> None:
    """Make the table of a plan against its baselines."""
    rows, cost = [], []
    for partition in partitions:
        folders: dict[str, list[Path]] = {run: [] for run in RUNS}
        for seed in bench.seeds:
            folder = bench.output / f"{data}-{partition}-{seed}"
            file = bench.federation(folder, data, seed, partition=partition, **shard)
            for run in RUNS:
                own = [*sets, f"federation.settings.seed={seed}"]
                folders[run].append(bench.run(run, folder / run.replace(": ", "-"), own, file))
            rows.append([partition, str(seed), *(tested(folders[run][-1:]) for run in RUNS)])
        rows.append([partition, "all", *(tested(folders[run]) for run in RUNS)])
        for folder in folders["federated"]:
            summary = json.loads((folder / "summary.json").read_text())
            cost.append([folder.parent.name, *(str(summary[key]) for key in COST)])
    table(["partition", "seed", *RUNS], rows)
    table(["run", *COST], cost)


COST = ("exchanged_bytes", "seconds", "peak_memory_mb", "best_round")


def head_part(bench: Bench) -> None:
    """Vary the head's learning rate."""
    rows = []
    for rate, factors in FACTORS.items():
        for factor in factors:
            folders = [bench.fine_tune(seed, at(factor, rate)) for seed in bench.seeds]
            curves = [validation(folder) for folder in folders]
            early = spread([curve[5] for curve in curves])
            best = spread([max(curve) for curve in curves])
            rows.append([f"{rate:g}", str(factor), early, best, tested(folders)])
    table(["learning rate", "head's factor", "validation after 5 rounds", "best validation", "test"], rows)


def strategies_part(bench: Bench) -> None:
    """Vary what is trained, each at its best learning rate, and measure how long it takes."""
    chosen: dict[str, tuple[float, list[Path]]] = {}
    for name, rates in STRATEGIES.items():
        runs = {rate: [bench.fine_tune(seed, sets) for seed in bench.seeds] for rate, sets in rates.items()}
        score = {rate: fmean(max(validation(folder)) for folder in folders) for rate, folders in runs.items()}
        best = max(score, key=lambda rate: score[rate])
        chosen[name] = (best, runs[best])
        print(name, "best validation by learning rate:", score)
    variants = {name: STRATEGIES[name][rate] for name, (rate, _) in chosen.items()}
    seconds = round_seconds(bench, variants, range(ROUNDS))
    rows = []
    for name, (rate, folders) in chosen.items():
        curves = [validation(folder) for folder in folders]
        rounds = [next((n for n, score in enumerate(c) if score >= REACHED), None) for c in curves]
        reached = ["never" if n is None else f"{n} rounds, {sum(seconds[name][:n]):.2f} s" for n in rounds]
        sent = json.loads((folders[0] / "summary.json").read_text())["exchanged_bytes"]
        best = spread([max(curve) for curve in curves])
        cells = [best, tested(folders), "; ".join(reached), f"{sum(seconds[name]):.2f} s", str(sent)]
        rows.append([name, f"{rate:g}", *cells])
    to_reach = f"to reach {REACHED} on validation"
    table(["strategy", "rate", "best validation", "test", to_reach, "all rounds", "bytes"], rows)


def augmentation_part(bench: Bench) -> None:
    """Vary what is done to training images."""
    variants = {
        policy: [
            *at(1, 1e-2),
            f"task_runner.settings.augmentation={{policy: {policy}, flip: false, smallest_crop: 0.7}}",
        ]
        for policy in POLICIES
    }
    seconds = {name: fmean(values) for name, values in round_seconds(bench, variants, range(2)).items()}
    rows = []
    for name, sets in variants.items():
        folders = [bench.fine_tune(seed, sets) for seed in bench.seeds]
        curves = [validation(folder) for folder in folders]
        rows.append(
            [
                name,
                spread([max(curve) for curve in curves]),
                tested(folders),
                f"{seconds[name]:.2f} s",
                f"{seconds[name] / seconds['none']:.2f}",
            ]
        )
    table(["policy", "best validation", "test", "an epoch", "to none"], rows)


def norm_part(bench: Bench) -> None:
    """Vary what becomes of BatchNorm where the sites differ."""
    rows = []
    for mode in ("aggregate", "local", "freeze"):
        sets = [f"task_runner.settings.batch_norm={mode}", LOCAL_TOO]
        folders = [bench.fine_tune(seed, sets, "dirichlet") for seed in bench.seeds]
        aggregate = spread([max(validation(folder)) for folder in folders])
        tuned = spread([max(validation(folder, "locally_tuned_model_validation")) for folder in folders])
        rows.append([mode, aggregate, tuned, tested(folders)])
    table(["batch_norm", "best validation", "locally tuned", "test of the exported model"], rows)


def round_seconds(
    bench: Bench, variants: dict[str, list[str]], numbers: Sequence[int], repeats: int = 2
) -> dict[str, list[float]]:
    """Measure the processor seconds of one envoy's training, for each round; the variants in turn, medians."""
    from federation.federation_file import load_federation, open_shard
    from federation.plan import load_plan
    from workspace.initial_exchange import build_model
    from workspace.learning.training import train_round

    folder = bench.fine_tune(bench.seeds[0], at(1, 1e-2))
    file = load_federation(folder.parent / "federation.yaml")
    split = open_shard(file.envoys["north"].shard_descriptor).split("train")
    plans = {name: load_plan(PLAN, fine_tuning(bench.seeds[0], sets)) for name, sets in variants.items()}
    found: dict[str, list[list[float]]] = {name: [[] for _ in numbers] for name in variants}
    for repeat in range(repeats + 1):
        for name, plan in plans.items():
            recipe, model = build_model(plan, file.checkpoints)
            for place, number in enumerate(numbers):
                began = time.process_time()
                train_round(
                    recipe,
                    model,
                    split,
                    plan.task_runner,
                    rounds=ROUNDS,
                    round_number=number,
                    seed=1,
                    site="north",
                    device="cpu",
                )
                if repeat:  # the first is to warm up
                    found[name][place].append(time.process_time() - began)
    return {name: [median(values) for values in places] for name, places in found.items()}


PARTS: dict[str, Callable[[Bench], None]] = {
    "federation": federation_part,
    "flowers": flowers_part,
    "head": head_part,
    "strategies": strategies_part,
    "augmentation": augmentation_part,
    "norm": norm_part,
}


def main() -> None:
    """Run what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", default=list(PARTS))
    parser.add_argument("--mnist", type=Path, default=os.environ.get("MNIST_PNG_ROOT"))
    parser.add_argument("--flowers", type=Path, default=os.environ.get("FLOWERS_ROOT"))
    parser.add_argument("--output", type=Path, default=Path("build/real_images"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options)
    for part in options.parts:
        print(f"\n## {part}", flush=True)
        PARTS[part](bench)


if __name__ == "__main__":
    main()
