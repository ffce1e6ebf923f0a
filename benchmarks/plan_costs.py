"""What a round of each large plan costs at its full size: bytes, memory, samples a second; makes a table in plans/README.md.

    UCI_SENTIMENT_ROOT=... FLOWERS_ROOT=... FRA_ENG_FILE=... python benchmarks/plan_costs.py
    python benchmarks/plan_costs.py keyword_spotting --device cuda:0

One round of `fed simulate`, two envoys in one process, each plan in a process of its own. A checkpoint has the configuration of
the published one and random weights: what is computed, held and sent is the same. The samples are few: synthesised speech for
keyword spotting (`fed data synthesise`), a part of the real sets for the others. Samples a second are of the envoys' training,
one envoy after the other; memory is the process's peak, both envoys' models and the aggregator's in it; on a GPU also what
torch has allocated there.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

ENVOYS = ("north", "south")
SPEECH = "shard_descriptors.speech.speech_commands.SpeechCommandsShard"
SENTIMENT = "shard_descriptors.text.sentiment.SentimentShard"
IMAGES = "shard_descriptors.images.image_folder.ImageFolderShard"
TRANSLATION = "shard_descriptors.text.translation.TranslationShard"


@dataclass(frozen=True)
class Cost:
    """What was measured of one plan; bytes are of an envoy, a round and one direction, memory is in MiB."""

    plan: str
    parameters: int
    exchanged_bytes: int
    samples: int
    samples_per_second: float
    seconds: float
    peak_memory_mb: float
    gpu_memory_mb: float | None


def speech(folder: Path) -> tuple[str, dict[str, Any]]:
    """Synthesise a few voices."""
    voices = folder / "voices"
    fed = str(Path(sys.executable).with_name("fed"))
    command = [fed, "data", "synthesise", "-o", str(voices), "--speakers", "10", "--takes", "1", "--quiet"]
    subprocess.run(command, check=True)
    return SPEECH, {"root": str(voices), "split": "speaker", "validation_share": 0.1, "test_share": 0.1}


def sentences(folder: Path) -> tuple[str, dict[str, Any]]:
    """Take the first sentences of a site."""
    lines = (_root("UCI_SENTIMENT_ROOT") / "yelp_labelled.txt").read_text("utf-8").split("\n")[:200]
    (folder / "sentences.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return SENTIMENT, {"root": str(folder / "sentences.tsv")}


def photographs(folder: Path) -> tuple[str, dict[str, Any]]:
    """Take the first photographs of each flower."""
    for kind in sorted(entry for entry in _root("FLOWERS_ROOT").iterdir() if entry.is_dir()):
        (folder / "flowers" / kind.name).mkdir(parents=True, exist_ok=True)
        for file in sorted(kind.iterdir())[:20]:
            shutil.copy(file, folder / "flowers" / kind.name)
    return IMAGES, {"root": str(folder / "flowers"), "dataset": "flowers"}


def pairs(folder: Path) -> tuple[str, dict[str, Any]]:
    """Take some pairs of sentences."""
    settings = {"root": str(_root("FRA_ENG_FILE")), "max_words": 10, "max_samples": 600}
    return TRANSLATION, settings


def write_wav2vec2(folder: Path, **sizes: int) -> None:
    """Write a wav2vec 2.0 with random weights; without sizes it is the base one."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    Wav2Vec2Model(Wav2Vec2Config(**sizes)).save_pretrained(folder)


def write_wav2vec2_large(folder: Path) -> None:
    """Write one in the size of ``facebook/wav2vec2-large``."""
    write_wav2vec2(
        folder, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )


def write_distilbert(folder: Path) -> None:
    """Write one in the size of ``distilbert-base-uncased``, with a tokenizer that spells."""
    from transformers import DistilBertConfig, DistilBertModel

    from workspace.experiments.sentiment.word_pieces import make_tokenizer

    DistilBertModel(DistilBertConfig()).save_pretrained(folder)
    make_tokenizer(["the", "a", "good", "bad"], "distilbert").save_pretrained(folder)


def write_resnet(folder: Path, depths: list[int], widths: list[int], layer: str) -> None:
    """Write a residual network."""
    from transformers import ResNetConfig, ResNetModel

    ResNetModel(ResNetConfig(depths=depths, hidden_sizes=widths, layer_type=layer)).save_pretrained(folder)


def write_resnet_18(folder: Path) -> None:
    """Write one in the size of ``microsoft/resnet-18``."""
    write_resnet(folder, [2, 2, 2, 2], [64, 128, 256, 512], "basic")


def write_resnet_50(folder: Path) -> None:
    """Write one in the size of ``microsoft/resnet-50``."""
    write_resnet(folder, [3, 4, 6, 3], [256, 512, 1024, 2048], "bottleneck")


Data = Callable[[Path], tuple[str, dict[str, Any]]]
PLANS: dict[str, tuple[Data, Callable[[Path], None] | None]] = {
    "keyword_spotting": (speech, write_wav2vec2),
    "keyword_spotting_large": (speech, write_wav2vec2_large),
    "keyword_spotting_lora": (speech, write_wav2vec2),
    "sentiment_features": (sentences, write_distilbert),
    "sentiment_full": (sentences, write_distilbert),
    "sentiment_lora": (sentences, write_distilbert),
    "image_head": (photographs, write_resnet_18),
    "image_discriminative": (photographs, write_resnet_18),
    "image_full": (photographs, write_resnet_50),
    "image_gradual": (photographs, write_resnet_50),
    "translation_additive": (pairs, None),
    "translation_dot_product": (pairs, None),
}


class Reports(logging.Handler):
    """Keeps what the task runners log of their training: samples and seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[tuple[int, float]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one report."""
        if record.msg.startswith("round %d: %d samples") and isinstance(record.args, tuple):
            self.trained.append((int(str(record.args[1])), float(str(record.args[2]))))


def measure(name: str, folder: Path, device: str) -> Cost:
    """Run one round of a plan in this process."""
    import torch

    from federation.federation_file import load_federation
    from federation.plan import load_plan
    from workspace.initial_exchange import build_model
    from workspace.quiet import quiet_libraries
    from workspace.simulation.run import simulate

    quiet_libraries()
    data, write_checkpoint = PLANS[name]
    folder.mkdir(parents=True, exist_ok=True)
    sets = ["aggregator.settings.rounds_to_train=1", f"federation.settings.envoys={len(ENVOYS)}"]
    plan = load_plan(f"plans/{name}.yaml", sets)
    template, settings = data(folder.resolve())
    checkpoint = plan.task_runner.checkpoint
    if write_checkpoint is not None:
        write_checkpoint(folder / "checkpoint")
    content: dict[str, Any] = {"envoys": {}, "checkpoints": {}}
    for rank, envoy in enumerate(ENVOYS):
        own = settings | {"rank": rank, "worldsize": len(ENVOYS), "seed": 1}
        content["envoys"][envoy] = {"shard_descriptor": {"template": template, "settings": own}}
    if checkpoint is not None:
        content["checkpoints"][checkpoint] = str((folder / "checkpoint").resolve())
    (folder / "federation.yaml").write_text(yaml.safe_dump(content))
    federation = load_federation(folder / "federation.yaml")
    _, model = build_model(plan, federation.checkpoints)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    del model
    reports, logger = Reports(), logging.getLogger("workspace.learning.task_runner")
    logger.addHandler(reports)
    logger.setLevel(logging.INFO)
    summary = simulate(plan, federation, folder / "run", device=device, force=True)
    samples, seconds = (sum(values) for values in zip(*reports.trained, strict=True))
    on_gpu = device.startswith("cuda")
    return Cost(
        plan=name,
        parameters=parameters,
        exchanged_bytes=summary.exchanged_bytes,
        samples=int(samples),
        samples_per_second=round(samples / seconds, 1),
        seconds=summary.seconds,
        peak_memory_mb=summary.peak_memory_mb,
        gpu_memory_mb=round(torch.cuda.max_memory_allocated() / 2**20, 1) if on_gpu else None,
    )


def _root(variable: str) -> Path:
    if variable not in os.environ:
        raise SystemExit(f"set {variable} to where its data lie, or name the plans that need none of it")
    return Path(os.environ[variable]).resolve()


def main() -> None:
    """Measure each plan in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plans", nargs="*", metavar="plan", default=list(PLANS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("build/plan_costs"))
    parser.add_argument("--here", action="store_true", help="in this process: one plan, printed as JSON")
    options = parser.parse_args()
    if options.here:
        cost = measure(options.plans[0], options.output / options.plans[0], options.device)
        print(json.dumps(asdict(cost)))
        return
    print(
        "| " + " | ".join(Cost.__dataclass_fields__) + " |\n" + "|---" * len(Cost.__dataclass_fields__) + "|"
    )
    for name in options.plans:
        command = [sys.executable, __file__, name, "--here", "--device", options.device]
        told = subprocess.run(
            [*command, "--output", str(options.output)], check=True, stdout=subprocess.PIPE, text=True
        )
        values = json.loads(told.stdout.splitlines()[-1]).values()
        print(
            "| " + " | ".join(f"{v:,}" if isinstance(v, int) else str(v) for v in values) + " |", flush=True
        )
        shutil.rmtree(options.output / name)


if __name__ == "__main__":
    main()
