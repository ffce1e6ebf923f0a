"""The tiny plan on real speech: federated, central and every envoy alone, over seeds; makes the table in plans/README.md.

    SPEECH_COMMANDS_ROOT=... python benchmarks/real_speech_commands.py --set aggregator.settings.rounds_to_train=30

Three envoys with disjoint speakers and a test set of a fifth of the speakers, drawn anew for each seed. Each run is the
`fed` command that a user would type; runs take one core each, ``--jobs`` of them at a time. The interval of a seed is a
bootstrap over its test speakers; that of all seeds draws from the test speakers of all of them, a speaker who is in several
test sets with all of its clips.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ENVOYS = ("north", "south", "west")
RUNS = ("federated", "central", *(f"local-{name}" for name in ENVOYS))
TEN_WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
CLASSES = {"ten_words": TEN_WORDS, "superb": [*TEN_WORDS, "_silence_", "_unknown_"]}
NOBODY = "nobody: "
FED = str(Path(sys.executable).with_name("fed"))


def write_federation(folder: Path, root: Path, classes: list[str], seed: int) -> Path:
    """Write the federation file of one seed."""

    def entry(rank: int) -> dict[str, Any]:
        settings = {
            "root": str(root),
            "classes": classes,
            "split": "speaker",
            "validation_share": 0.1,
            "test_share": 0.2,
            "partition": "speaker",
            "rank": rank,
            "worldsize": len(ENVOYS),
            "seed": seed,
        }
        template = "shard_descriptors.speech.speech_commands.SpeechCommandsShard"
        return {"shard_descriptor": {"template": template, "settings": settings}}

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "federation.yaml"
    content = {"envoys": {name: entry(rank) for rank, name in enumerate(ENVOYS)}, "test": entry(0)}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def command_of(run: str, plan: str, sets: list[str], federation: Path, folder: Path) -> list[str]:
    """Return the `fed` command of one run."""
    verb = {"federated": ["simulate"], "central": ["central"]}.get(
        run, ["local", "--envoy", run.partition("-")[2]]
    )
    overrides = [argument for one in sets for argument in ("--set", one)]
    return [FED, *verb, plan, *overrides, "--federation", str(federation), "-o", str(folder / run), "--quiet"]


def sums_of(folder: Path, run: str) -> dict[str, Any]:
    """Return the statistics of each test speaker, and under `NOBODY` and its name those of each second of silence."""
    from federation.federation_file import load_federation, open_shard
    from workspace.learning.evaluation import sums_by_group
    from workspace.learning.exported import load_exported

    test = load_federation(folder / "federation.yaml").test
    assert test is not None
    recipe, settings, model = load_exported(folder / run / "model")
    shard = open_shard(test.shard_descriptor)
    split = shard.split("test")
    silent = {
        group
        for group, label in zip(split.groups, split.labels, strict=True)
        if shard.classes[label] in shard.without_groups
    }
    sums = sums_by_group(recipe, model, split, settings, device="cpu")
    return {NOBODY * (name in silent) + name: one for name, one in sums.items()}


def by_owner(sums: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Part those of speakers from those that belong to nobody: each is drawn for itself."""
    return (
        [one for name, one in sums.items() if not name.startswith(NOBODY)],
        [one for name, one in sums.items() if name.startswith(NOBODY)],
    )


def accuracy(sums: Any) -> float:
    """Return the share of right answers."""
    return float(np.trace(sums["confusion"]) / sums["samples"])


def by_speaker(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the statistics of each speaker over one or several test sets."""
    from federation.statistics import add

    speakers: dict[str, Any] = {}
    for run in runs:
        for name, sums in run.items():
            speakers[name] = add(speakers[name], sums) if name in speakers else sums
    return speakers


def interval(runs: list[dict[str, Any]]) -> str:
    """Write accuracy and interval over the speakers of one or several test sets."""
    from federation.statistics import add
    from workspace.learning.evaluation import bootstrap_interval

    speakers, silent = by_owner(by_speaker(runs))
    low, high = bootstrap_interval(speakers, accuracy, apart=silent)
    return f"{accuracy(functools.reduce(add, speakers + silent)):.3f} ({low:.3f}-{high:.3f})"


def difference(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    """Write how much more accurate one is than the other, the same speakers drawn for both."""
    from federation.statistics import add
    from workspace.learning.evaluation import bootstrap_interval

    def right(sums: Any) -> Any:
        return np.trace(sums["confusion"])

    def per_sample(sums: Any) -> float:
        return float(sums["more"] / sums["samples"])

    one, other = by_speaker(ours), by_speaker(theirs)
    pairs, silent = by_owner(
        {
            name: {"more": np.asarray(right(one[name]) - right(other[name])), "samples": one[name]["samples"]}
            for name in one
        }
    )
    low, high = bootstrap_interval(pairs, per_sample, apart=silent)
    return f"{per_sample(functools.reduce(add, pairs + silent)):+.3f} ({low:+.3f} to {high:+.3f})"


def main() -> None:
    """Run what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=os.environ.get("SPEECH_COMMANDS_ROOT"))
    parser.add_argument("--plan", default="plans/keyword_spotting_tiny.yaml")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--output", type=Path, default=Path("build/real_speech_commands"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.root is None:
        parser.error("name the Speech Commands folder: --root or SPEECH_COMMANDS_ROOT")
    jobs = []
    for classes in options.classes:
        for seed in options.seeds:
            folder = options.output / f"{classes}-{seed}"
            federation = write_federation(folder, options.root.resolve(), CLASSES[classes], seed)
            names = f"federation.settings.classes={json.dumps(CLASSES[classes])}"
            sets = [
                *options.sets,
                names,
                f"federation.settings.seed={seed}",
                "federation.settings.torch_threads=1",
            ]
            jobs += [
                command_of(run, options.plan, sets, federation, folder)
                for run in RUNS
                if not (folder / run / "summary.json").is_file()
            ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in pool.map(
            lambda job: subprocess.run(job, env=environment, stdout=subprocess.DEVNULL, check=True), jobs
        ):
            print("done:", " ".join(done.args[1:4]), done.args[-2], flush=True)
    print(f"| classes | seed | {' | '.join(RUNS)} |")
    print("|---" * (len(RUNS) + 2) + "|")
    for classes in options.classes:
        counts = {
            run: [sums_of(options.output / f"{classes}-{seed}", run) for seed in options.seeds]
            for run in RUNS
        }
        for number, seed in enumerate(options.seeds):
            cells = [interval([counts[run][number]]) for run in RUNS]
            print(f"| {classes} | {seed} | {' | '.join(cells)} |")
        print(f"| {classes} | all | {' | '.join(interval(counts[run]) for run in RUNS)} |")
        differences = (difference(counts["federated"], counts[run]) for run in RUNS[1:])
        print(f"| {classes} | federated less | | {' | '.join(differences)} |")


if __name__ == "__main__":
    main()
