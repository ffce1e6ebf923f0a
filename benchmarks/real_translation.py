"""The tiny translation plan on real sentences: makes the tables in plans/README.md and docs/translation.md.

    FRA_ENG_FILE=... python benchmarks/real_translation.py

Three envoys. For each seed sentences are drawn and split anew, the weights start anew, and vocabularies are made of the counts
of words in the three training parts, so that no test sentence has a part in them. Then: federated, central and every envoy
alone with additive attention, and federated with the scaled dot product, as `fed simulate`, `fed central` and `fed local` do
it. They are measured on all sentences of the file that no envoy trains or validates on, those that were not drawn included.
Intervals are a bootstrap over 200 parts of these, all pairs of a source sentence in one part; a sentence is in the same part at
each seed, so that the interval of all seeds counts no sentence twice. What is there already is not run again.

``--times`` measures instead how long both kinds of attention take to train, in turns in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any
from zlib import crc32

import yaml

from workspace.simulation.run_folder import RunFolder

ENVOYS = ("north", "south", "west")
RUNS = ("federated", "central", *(f"local-{name}" for name in ENVOYS), "federated-dot_product")
SETTINGS = "task_runner.settings"


def write_federation(folder: Path, file: Path, options: argparse.Namespace, seed: int) -> Path:
    """Write the federation file of one seed."""

    def entry(rank: int) -> dict[str, Any]:
        settings = {
            "root": str(file),
            "max_words": options.max_words,
            "max_samples": options.max_samples,
            "validation_share": 0.05,
            "test_share": 0.1,
            "partition": options.partition,
            "rank": rank,
            "worldsize": len(ENVOYS),
            "seed": seed,
        }
        template = "shard_descriptors.text.translation.TranslationShard"
        return {"shard_descriptor": {"template": template, "settings": settings}}

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "federation.yaml"
    content = {"envoys": {name: entry(rank) for rank, name in enumerate(ENVOYS)}}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def write_vocabularies(folder: Path, federation: Any, size: int) -> list[str]:
    """Make vocabularies of the sites' counts, as `fed data words` and `fed data vocabulary` do; return what sets them."""
    from federation.federation_file import open_shard
    from shard_descriptors.text.words import count_words, merge_counts

    files = {field: folder / f"{field}_vocabulary.txt" for field in ("source", "target")}
    if not all(file.is_file() for file in files.values()):
        splits = [open_shard(entry.shard_descriptor).split("train") for entry in federation.envoys.values()]
        for field, file in files.items():
            words = merge_counts([count_words(split, field, 2) for split in splits], size, 2)
            file.write_text("\n".join(words) + "\n", "utf-8")
    return [f"{SETTINGS}.{field}_vocabulary_file={file.resolve()}" for field, file in files.items()]


def run_one(run: str, plan: str, sets: list[str], federation: Any, folder: Path) -> None:
    """Run what one cell of the table is about."""
    from federation.plan import load_plan
    from workspace.simulation.baseline import run_baseline
    from workspace.simulation.run import simulate

    kind, _, which = run.partition("-")
    if kind == "federated":
        attention = [f"{SETTINGS}.model.attention={which}"] if which else []
        simulate(load_plan(plan, [*sets, *attention]), federation, folder / run, device="cpu", force=True)
    else:
        run_baseline(load_plan(plan, sets), federation, folder / run, which or None, force=True)


def unseen_pairs(federation: Any) -> Any:
    """Return the pairs whose source sentence no envoy trains or validates on: the test split, and what `max_samples` left out.

    Groups are parts of the source sentences, the same at each seed.
    """
    from federation.federation_file import open_shard
    from shard_descriptors.text.sentence_pairs import read_pairs
    from shard_descriptors.text.translation import PairSplit
    from workspace.learning.evaluation import MOST_PARTS

    shards = [open_shard(entry.shard_descriptor) for entry in federation.envoys.values()]
    splits = [shard.split(name) for shard in shards for name in ("train", "validation")]
    seen = {group for split in splits for group in split.groups}
    pairs, _ = read_pairs(replace(shards[0].settings, max_samples=None))
    split = PairSplit([pair for pair in pairs if pair.group not in seen])
    split.groups = [str(crc32(group.encode()) % MOST_PARTS) for group in split.groups]
    return split


def sums_of(folder: Path, run: str, test: Any) -> dict[str, Any]:
    """Return the statistics of each part of the test sentences."""
    from workspace.learning.evaluation import sums_by_group
    from workspace.learning.exported import load_exported

    recipe, settings, model = load_exported(folder / run / "model")
    return dict(sums_by_group(recipe, model, test, settings, device="cpu"))


def interval(runs: list[dict[str, Any]], metric: str) -> str:
    """Write a metric and its interval over the sentences of one or several test sets."""
    from federation.statistics import add, derive
    from workspace.learning.evaluation import bootstrap_interval

    def score(sums: Any) -> float:
        return derive("translation", sums, ())[metric]

    names = sorted({name for run in runs for name in run})
    sums = [reduce(add, [run[name] for run in runs if name in run]) for name in names]
    low, high = bootstrap_interval(sums, score)
    total = reduce(add, sums)
    digits = 1 if metric == "bleu" else 2
    return f"{score(total):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def measure_times(plan: str, sets: list[str], federation: Any, repeats: int) -> None:
    """Train both kinds of attention for an epoch on one envoy's samples, in turns; print seconds of processor time."""
    import torch

    from federation.federation_file import open_shard
    from federation.plan import load_plan
    from workspace.initial_exchange import build_model
    from workspace.learning.training import train_round

    torch.set_num_threads(1)
    split = open_shard(federation.envoys[ENVOYS[0]].shard_descriptor).split("train")
    seconds: dict[str, list[float]] = {"additive": [], "dot_product": []}
    for _ in range(repeats):
        for attention, measured in seconds.items():
            checked = load_plan(plan, [*sets, f"{SETTINGS}.model.attention={attention}"])
            recipe, model = build_model(checked, {})
            # Processor time: other work on the same cores would otherwise be measured as well.
            began = time.process_time()
            train_round(
                recipe,
                model,
                split,
                checked.task_runner,
                rounds=1,
                round_number=0,
                seed=1,
                site="a",
                device="cpu",
            )
            measured.append(time.process_time() - began)
    for attention, measured in seconds.items():
        told = ", ".join(f"{one:.2f}" for one in measured)
        print(
            f"{attention}: median {statistics.median(measured):.2f} s an epoch of {len(split)} samples ({told})"
        )
    ratios = [a / d for a, d in zip(seconds["additive"], seconds["dot_product"], strict=True)]
    print(
        f"additive / dot_product: median {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    )


def main() -> None:
    """Run what is not there yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", type=Path, default=os.environ.get("FRA_ENG_FILE"))
    parser.add_argument("--plan", default="plans/translation_tiny.yaml")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--output", type=Path, default=Path("build/real_translation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--partition", choices=["stride", "length", "dirichlet"], default="stride")
    parser.add_argument("--max-words", type=int, default=5)
    parser.add_argument("--max-samples", type=int, default=4500)
    parser.add_argument("--vocabulary-size", type=int, default=4000)
    parser.add_argument("--times", type=int, default=0, metavar="REPEATS")
    options = parser.parse_args()
    if options.file is None:
        parser.error("name the file of English-French pairs: --file or FRA_ENG_FILE")
    from federation.federation_file import load_federation
    from workspace.quiet import quiet_libraries

    quiet_libraries()
    folders = {seed: options.output / f"{options.partition}-{seed}" for seed in options.seeds}
    for seed, folder in folders.items():
        federation = load_federation(write_federation(folder, Path(options.file).resolve(), options, seed))
        seeded = f"federation.settings.seed={seed}"
        sets = [*options.sets, seeded, *write_vocabularies(folder, federation, options.vocabulary_size)]
        if options.times:
            measure_times(options.plan, sets, federation, options.times)
            return
        for run in options.runs:
            if RunFolder(folder / run).state != "finished":
                run_one(run, options.plan, sets, federation, folder)
                print("done:", folder.name, run, flush=True)
    parts: dict[str, list[dict[str, Any]]] = {run: [] for run in options.runs}
    for seed, folder in folders.items():
        test = unseen_pairs(load_federation(folder / "federation.yaml"))
        print(f"seed {seed}: {len(test)} test pairs", flush=True)
        for run in options.runs:
            parts[run].append(sums_of(folder, run, test))
    for metric in ("bleu", "loss"):
        print(f"\n| test {metric} | {' | '.join(options.runs)} |")
        print("|---" * (len(options.runs) + 1) + "|")
        for number, seed in enumerate(options.seeds):
            print(
                f"| seed {seed} | {' | '.join(interval([parts[run][number]], metric) for run in options.runs)} |"
            )
        print(f"| all | {' | '.join(interval(parts[run], metric) for run in options.runs)} |")
    print("\n| run | best round | seconds | peak memory | exchanged bytes |\n|---|---|---|---|---|")
    for folder in folders.values():
        for run in options.runs:
            summary = json.loads((folder / run / "summary.json").read_text())
            told = [
                summary.get(name, "")
                for name in ("best_round", "seconds", "peak_memory_mb", "exchanged_bytes")
            ]
            print(f"| {folder.name} {run} | {' | '.join(map(str, told))} |")


if __name__ == "__main__":
    main()
