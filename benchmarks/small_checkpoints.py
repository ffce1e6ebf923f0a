"""The plans for published checkpoints, on real data, each from a small checkpoint made here; makes a table in plans/README.md.

    SPEECH_COMMANDS_ROOT=... UCI_SENTIMENT_ROOT=... MNIST_PNG_ROOT=... python benchmarks/small_checkpoints.py

Published weights are not always at hand. A stand-in of each is a tiny plan's network, trained centrally on other data than the
envoys have: synthesised voices saying other words, sentences of other sites, images of other digits. Every site maps the
checkpoint's id to it, and each plan then runs as it is but for what a small network needs: smaller batches, and a learning rate
that is chosen by the validation accuracy of a federated run on another draw of the data. So what a plan trains and sends is
compared with central and local-only; how good the published network would be it does not tell.

Three envoys, everything drawn anew for each seed, one core; what is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from real_images import validation
from real_sentiment import run, write_vocabulary
from real_speech_commands import ENVOYS, RUNS, TEN_WORDS, interval, sums_of

from federation.federation_file import load_federation
from federation.plan import load_plan

SETTINGS = "task_runner.settings"
CHOOSING_SEED = 11
OTHER_WORDS = (
    "bed,bird,cat,dog,eight,five,four,happy,house,marvin,nine,one,seven,sheila,six,three,tree,two,wow,zero"
)


@dataclass(frozen=True)
class Family:
    """What the plans of one experiment are measured on.

    ``pretrain`` makes the stand-in in a folder that it is given, from the folder of real data. ``template`` and ``shard`` are
    the envoys' data. ``sets`` are the overrides of all plans; ``plans`` has their own, and the learning rates to choose from.
    """

    variable: str
    checkpoints: tuple[str, ...]
    pretrain: Callable[[Path, Path], None]
    template: str
    shard: Callable[[Path], dict[str, Any]]
    sets: tuple[str, ...]
    plans: dict[str, tuple[tuple[str, ...], tuple[float, ...]]]


def write_federation(folder: Path, template: str, settings: list[dict[str, Any]], **more: Any) -> Path:
    """Write a federation file of as many envoys as there are settings; the first one's shard has the test."""
    entries = [{"shard_descriptor": {"template": template, "settings": one}} for one in settings]
    content = {"envoys": dict(zip(ENVOYS, entries, strict=False)), "test": entries[0], **more}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "federation.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def write_encoder(model: Path, checkpoint: Path) -> None:
    """Write a model without its head, as pre-training leaves it, and what prepares its inputs."""
    from transformers import AutoModel

    AutoModel.from_pretrained(model).save_pretrained(checkpoint)
    for file in model.iterdir():
        if not (checkpoint / file.name).exists():
            shutil.copy(file, checkpoint / file.name)


def train_centrally(plan: str, sets: list[str], federation: Path) -> None:
    """Do what ``fed central`` does, beside the federation file."""
    checked = load_plan(f"plans/{plan}.yaml", [*sets, "federation.settings.envoys=1"])
    run("central", checked, load_federation(federation), federation.parent)


def pretrain_speech(folder: Path, root: Path) -> None:
    """Learn twenty other words from synthesised voices."""
    words, voices = OTHER_WORDS.split(","), folder / "voices"
    fed = str(Path(sys.executable).with_name("fed"))
    asked = ["--words", OTHER_WORDS, "--speakers", "40", "--takes", "2"]
    subprocess.run([fed, "data", "synthesise", "-o", str(voices), *asked, "--quiet"], check=True)
    settings = {"root": str(voices.resolve()), "classes": words, "split": "speaker", "test_share": 0.1}
    file = write_federation(folder, SPEECH.template, [settings])
    names = f"federation.settings.classes={json.dumps(words)}"
    train_centrally("keyword_spotting_tiny", [names, "aggregator.settings.rounds_to_train=20"], file)


def pretrain_sentiment(folder: Path, root: Path) -> None:
    """Learn from the sentences of two sites."""
    sites = folder / "sites"
    sites.mkdir(parents=True, exist_ok=True)
    for name in ("amazon_cells_labelled.txt", "imdb_labelled.txt"):
        shutil.copy(root / name, sites / name)
    file = write_federation(folder, SENTIMENT.template, [{"root": str(sites.resolve())}])
    words = write_vocabulary(load_federation(file), folder / "vocabulary.txt").resolve()
    train_centrally("sentiment_tiny", [f"{SETTINGS}.vocabulary_file={words}"], file)


def pretrain_images(folder: Path, root: Path) -> None:
    """Learn the digits 0 to 4."""
    digits = list("01234")
    settings = {"dataset": "mnist", "root": str(root), "classes": digits, "image_size": 32, "test_share": 0.1}
    file = write_federation(folder, IMAGES.template, [settings])
    train_centrally("image_tiny", [f"federation.settings.classes={json.dumps(digits)}"], file)


SPEECH = Family(
    variable="SPEECH_COMMANDS_ROOT",
    checkpoints=("facebook/wav2vec2-base", "facebook/wav2vec2-large"),
    pretrain=pretrain_speech,
    template="shard_descriptors.speech.speech_commands.SpeechCommandsShard",
    shard=lambda root: {
        "root": str(root),
        "classes": TEN_WORDS,
        "split": "speaker",
        "partition": "speaker",
    },
    sets=(
        f"federation.settings.classes={json.dumps(TEN_WORDS)}",
        f"{SETTINGS}.batch_size=16",
        f"{SETTINGS}.accumulation=1",
    ),
    plans={
        "keyword_spotting": ((), (1e-3, 3e-3)),
        "keyword_spotting_large": ((), (3e-3,)),
        "keyword_spotting_lora": ((), (3e-3, 1e-2)),
    },
)
SENTIMENT = Family(
    variable="UCI_SENTIMENT_ROOT",
    checkpoints=("distilbert-base-uncased",),
    pretrain=pretrain_sentiment,
    template="shard_descriptors.text.sentiment.SentimentShard",
    shard=lambda root: {"root": str(root / "yelp_labelled.txt"), "partition": "dirichlet"},
    sets=(f"{SETTINGS}.max_tokens=64", f"{SETTINGS}.batch_size=16"),
    plans={
        "sentiment_features": ((), (1e-2, 1e-1)),
        "sentiment_full": ((), (3e-4, 1e-3, 3e-3)),
        "sentiment_lora": ((), (1e-3, 3e-3, 1e-2)),
    },
)
IMAGES = Family(
    variable="MNIST_PNG_ROOT",
    checkpoints=("microsoft/resnet-18", "microsoft/resnet-50"),
    pretrain=pretrain_images,
    template="shard_descriptors.images.image_folder.ImageFolderShard",
    shard=lambda root: {
        "dataset": "mnist",
        "root": str(root),
        "classes": list("56789"),
        "image_size": 32,
        "check": "header",
        "validation_share": 0.2,
        "test_share": 0.6,
    },
    sets=(
        f"federation.settings.classes={json.dumps(list('56789'))}",
        "federation.settings.dataset=mnist",
        f"{SETTINGS}.batch_size=16",
        f"{SETTINGS}.augmentation.flip=false",
        f"{SETTINGS}.augmentation.smallest_crop=0.7",
    ),
    plans={
        "image_head": ((), (1e-2, 1e-1)),
        "image_discriminative": ((), (1e-3, 1e-2)),
        "image_full": ((), (1e-3, 1e-2)),
        # A site's own BatchNorm, as the plan has it, is in no model that could be tested for all sites.
        "image_gradual": ((f"{SETTINGS}.batch_norm=aggregate",), (1e-3, 1e-2)),
    },
)
FAMILIES = {"keyword_spotting": SPEECH, "sentiment": SENTIMENT, "image": IMAGES}


class Bench:
    """One family, its data, and where its results lie."""

    def __init__(self, family: Family, root: Path, folder: Path, partition: str | None) -> None:
        self.family, self.root, self.folder = family, root, folder
        self.partition = {"partition": partition} if partition else {}

    def run(self, name: str, plan: str, rate: float, seed: int) -> Path:
        """Do one run of a plan, unless it has been done; return the folder that holds it."""
        checkpoint = self.folder / "checkpoint"
        if not (checkpoint / "config.json").is_file():
            self.family.pretrain(self.folder / "pretrained", self.root)
            write_encoder(self.folder / "pretrained" / "central" / "model", checkpoint)
        base = {"validation_share": 0.1, "test_share": 0.2, "worldsize": len(ENVOYS), "seed": seed}
        shard = base | self.family.shard(self.root) | self.partition
        settings = [shard | {"rank": rank} for rank in range(len(ENVOYS))]
        model = str(checkpoint.resolve())
        folder = self.folder / "-".join([plan, *self.partition.values(), f"{rate:g}", str(seed)])
        mapped = dict.fromkeys(self.family.checkpoints, model)
        file = write_federation(folder, self.family.template, settings, checkpoints=mapped)
        run(
            name,
            load_plan(f"plans/{plan}.yaml", self.overrides(plan, rate, seed)),
            load_federation(file),
            folder,
        )
        return folder

    def all_runs(self, plan: str, rate: float, seed: int) -> Path:
        """Do all runs of a plan; return the folder that holds them."""
        for name in RUNS:
            folder = self.run(name, plan, rate, seed)
        return folder

    def overrides(self, plan: str, rate: float, seed: int) -> list[str]:
        """Return what is set in a plan."""
        own = [f"{SETTINGS}.learning_rate={rate:g}", f"federation.settings.seed={seed}"]
        return [*self.family.sets, *self.family.plans[plan][0], *own, "federation.settings.torch_threads=1"]

    def choose_rate(self, plan: str) -> float:
        """Return the learning rate of the best validation accuracy on another draw of the data."""
        found = {}
        for rate in self.family.plans[plan][1]:
            folder = self.run("federated", plan, rate, CHOOSING_SEED)
            found[rate] = max(validation(folder / "federated"))
        print(plan, "validation accuracy by learning rate:", found, flush=True)
        return max(found, key=lambda rate: found[rate])


def main() -> None:
    """Run what is not there yet, and print the table."""
    from workspace.quiet import quiet_libraries

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("families", nargs="*", metavar="family", default=list(FAMILIES))
    parser.add_argument("--output", type=Path, default=Path("build/small_checkpoints"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--partition", help="Of the envoys' data; by default the family's own.")
    options = parser.parse_args()
    quiet_libraries()
    rows = []
    for name in options.families:
        family = FAMILIES[name]
        if family.variable not in os.environ:
            parser.error(f"set {family.variable} to the folder of its data, or leave {name} out")
        root = Path(os.environ[family.variable]).resolve()
        bench = Bench(family, root, options.output / name, options.partition)
        for plan in family.plans:
            rate = bench.choose_rate(plan)
            folders = [bench.all_runs(plan, rate, seed) for seed in options.seeds]
            cost = json.loads((folders[0] / "federated" / "summary.json").read_text())
            cells = [interval([sums_of(folder, one) for folder in folders]) for one in RUNS]
            rows.append([plan, f"{rate:g}", *cells, str(cost["exchanged_bytes"])])
    print(f"\n| plan | learning rate | {' | '.join(RUNS)} | bytes |\n" + "|---" * (len(RUNS) + 3) + "|")
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))


if __name__ == "__main__":
    main()
