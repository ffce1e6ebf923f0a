"""The tiny sentiment plan on real sentences: federated, central and every envoy alone; makes the table in plans/README.md.

    UCI_SENTIMENT_ROOT=... python benchmarks/real_sentiment.py

Three envoys, by the site that sentences are from (``source``) and evenly mixed (``stride``); a fifth of the sentences to test
on, drawn anew for each seed, as is the vocabulary, from the counts of the envoys' training words. Each run does what the `fed`
command of its name does, one after another in this process; what is there already is kept. The interval of a seed is a
bootstrap over its test sentences; that of all seeds draws from the test sentences of all of them.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import yaml
from real_speech_commands import ENVOYS, RUNS, interval, sums_of

from federation.federation_file import FederationFile, load_federation, open_shard
from federation.plan import CheckedPlan, load_plan
from shard_descriptors.text.words import count_words, merge_counts

PARTITIONS = ("source", "stride")


def write_federation(folder: Path, root: Path, partition: str, seed: int) -> Path:
    """Write the federation file of one seed."""

    def entry(rank: int) -> dict[str, Any]:
        settings = {
            "root": str(root),
            "validation_share": 0.1,
            "test_share": 0.2,
            "partition": partition,
            "rank": rank,
            "worldsize": len(ENVOYS),
            "seed": seed,
        }
        template = "shard_descriptors.text.sentiment.SentimentShard"
        return {"shard_descriptor": {"template": template, "settings": settings}}

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "federation.yaml"
    content = {"envoys": {name: entry(rank) for rank, name in enumerate(ENVOYS)}, "test": entry(0)}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def write_vocabulary(federation: FederationFile, file: Path) -> Path:
    """Do what ``fed data words`` at each envoy and ``fed data vocabulary`` do at their defaults."""
    shards = [open_shard(entry.shard_descriptor) for entry in federation.envoys.values()]
    counts = [count_words(shard.split("train"), "text", minimum=2) for shard in shards]
    file.write_text("\n".join(merge_counts(counts, 4000)) + "\n", "utf-8")
    return file


def run(name: str, plan: CheckedPlan, federation: FederationFile, folder: Path) -> None:
    """Do one run, unless it has been done."""
    from workspace.simulation.baseline import run_baseline
    from workspace.simulation.run import simulate
    from workspace.simulation.run_folder import RunFolder

    if RunFolder(folder / name).state == "finished":
        return
    if name == "federated":
        simulate(plan, federation, folder / name, device="cpu", force=True)
    else:
        run_baseline(plan, federation, folder / name, name.partition("-")[2] or None, force=True)
    print("done:", folder.name, name, flush=True)


def main() -> None:
    """Run what is not there yet, then print the table."""
    from workspace.quiet import quiet_libraries

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=os.environ.get("UCI_SENTIMENT_ROOT"))
    parser.add_argument("--plan", default="plans/sentiment_tiny.yaml")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--output", type=Path, default=Path("build/real_sentiment"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--partitions", nargs="+", choices=PARTITIONS, default=list(PARTITIONS))
    options = parser.parse_args()
    if options.root is None:
        parser.error("name the folder of the sentences: --root or UCI_SENTIMENT_ROOT")
    quiet_libraries()
    for partition in options.partitions:
        for seed in options.seeds:
            folder = options.output / f"{partition}-{seed}"
            federation = load_federation(write_federation(folder, options.root.resolve(), partition, seed))
            words = write_vocabulary(federation, folder / "vocabulary.txt").resolve()
            sets = [
                *options.sets,
                f"task_runner.settings.vocabulary_file={words}",
                f"federation.settings.seed={seed}",
            ]
            for name in RUNS:
                run(name, load_plan(options.plan, sets), federation, folder)
    print(f"| envoys | seed | {' | '.join(RUNS)} |")
    print("|---" * (len(RUNS) + 2) + "|")
    for partition in options.partitions:
        folders = [options.output / f"{partition}-{seed}" for seed in options.seeds]
        sums = {name: [sums_of(folder, name) for folder in folders] for name in RUNS}
        for number, seed in enumerate(options.seeds):
            cells = [interval([sums[name][number]]) for name in RUNS]
            print(f"| {partition} | {seed} | {' | '.join(cells)} |")
        print(f"| {partition} | all | {' | '.join(interval(sums[name]) for name in RUNS)} |")
        costs = [json.loads((folder / "federated" / "summary.json").read_text()) for folder in folders]
        for key in ("exchanged_bytes", "seconds", "peak_memory_mb"):
            print(f"{partition}: {key} of the federated runs: {', '.join(str(cost[key]) for cost in costs)}")


if __name__ == "__main__":
    main()
