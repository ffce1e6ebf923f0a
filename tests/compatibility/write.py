"""Write what this version leaves behind for those who come after: files, models, a director's state, bytes of calls.

    python -m tests.compatibility.write

makes ``tests/compatibility/written_by_<version>_protocol_<protocol>/``, which later versions must open, run and finish
(`tests.compatibility.test_older_versions`). Run it once for a version, before the next one changes anything, and commit what
it made: it holds no keys, no paths and no addresses of the machine. `tests.compatibility.write_personal_layers` adds to it.

For a version that is past, this file, ``write_deployment.py`` and ``recording.py`` are copied into a worktree of its commit and
run there with ``PYTHONPATH=$PWD``: ``written_by_0_2_0_protocol_0`` was made so in ae80293, its
state and calls in one run, the rest in another.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import federation.protocol
from federation.code import code_hash, project_version
from federation.plan import load_plan
from tests import image_data, sentiment_data, translation_data
from tests.compatibility.write_deployment import ENVOYS, write_calls, write_state
from tests.deployment import FED, TINY_PLAN, WORDS, shard_entry, write_yaml
from tests.speech_data import make_speech_folder

EXPERIMENTS = ("keyword_spotting", "sentiment", "translation", "image_classification")
VOCABULARIES = {
    "source": ["the", "a", "i", "you", "he", "we", "see", "sees", "want", "wants", "take", "takes", "cat"],
    "target": ["le", "la", "un", "je", "tu", "il", "nous", "vois", "voit", "veux", "prends", "chat", "livre"],
}


def plan_of(experiment: str) -> dict[str, Any]:
    """A plan in the full form that trains in a second and whose model is a few kilobytes."""
    plan = copy.deepcopy(TINY_PLAN)
    settings = plan["task_runner"]["settings"]
    settings["model"] |= {
        "hidden_size": 8,
        "intermediate_size": 16,
        "conv_dim": [8, 8],
        "conv_kernel": [64, 8],
        "conv_stride": [40, 8],
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "classifier_proj_size": 8,
    }
    told = plan["federation"]["settings"]
    if experiment == "sentiment":
        return sentiment_data.small_plan()
    if experiment == "image_classification":
        model = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
        plan["task_runner"]["settings"] = {
            "experiment": experiment,
            "batch_size": 8,
            "image_size": 16,
            "model": model,
        }
        told |= {"dataset": "colours", "classes": list(image_data.CLASSES)}
    if experiment == "translation":
        plan["aggregator"]["settings"] |= {"best_metric": "loss", "best_direction": "minimize"}
        plan["task_runner"]["settings"] = {
            "experiment": experiment,
            "source_vocabulary_file": "source.txt",
            "target_vocabulary_file": "target.txt",
            "batch_size": 32,
            "model": {"embedding_size": 8, "hidden_size": 8, "dropout": 0.0, "max_length": 8},
        }
        del told["classes"]
        told |= {"dataset": "sentence_pairs_en_fr", "metrics": "translation"}
    return plan


def make_data(experiment: str, folder: Path) -> Path:
    """Make the data that an experiment's federation file names, beside it."""
    if experiment == "keyword_spotting":
        return make_speech_folder(folder / "data", words=WORDS, speakers=12, takes=2)
    if experiment == "sentiment":
        return sentiment_data.make_sentences(folder / "data")
    if experiment == "translation":
        return translation_data.write_pairs(folder / "pairs.txt")
    return image_data.make_image_folder(folder / "data")


def entry_of(experiment: str, rank: int) -> dict[str, Any]:
    """The shard of one envoy; its root is relative to the file that it stands in."""
    if experiment == "keyword_spotting":
        return shard_entry(Path("data"), rank, 2)
    if experiment == "sentiment":
        return sentiment_data.shard_entry(Path("data"), rank, 2)
    if experiment == "translation":
        return translation_data.pairs_entry(Path("pairs.txt"), rank, 2)
    return image_data.shard_entry(Path("data"), rank, 2)


def write_experiment(experiment: str, target: Path, work: Path) -> dict[str, Any]:
    """Write plan, federation file and, by a simulation, the model; return what is known of them."""
    target.mkdir(parents=True)
    for name, words in VOCABULARIES.items() if experiment == "translation" else ():
        (target / f"{name}.txt").write_text("\n".join(words) + "\n")
    plan = load_plan(write_yaml(target / "plan.yaml", plan_of(experiment)))
    envoys = {name: {"shard_descriptor": entry_of(experiment, rank)} for rank, name in enumerate(ENVOYS)}
    test = {"shard_descriptor": entry_of(experiment, 0)}
    write_yaml(target / "federation.yaml", {"envoys": envoys, "test": test})
    here = work / experiment
    shutil.copytree(target, here)
    make_data(experiment, here)
    arguments = ["simulate", "plan.yaml", "--federation", "federation.yaml", "-o", "out", "--quiet"]
    subprocess.run([*FED, *arguments], cwd=here, check=True)
    shutil.copytree(here / "out" / "model", target / "model")
    summary = json.loads((here / "out" / "summary.json").read_text())
    return {
        "plan_hash": plan.hash,
        "exchanged_sha256": summary["exchanged_sha256"],
        "test": summary["test"],
    }


def write_configs(target: Path) -> None:
    """Write a config of each kind, as an operator or a data scientist has it."""
    target.mkdir()
    director = {"listen": "127.0.0.1:0", "certificates": "certificates", "state": "state"}
    write_yaml(target / "director_config.yaml", director)
    for rank, name in enumerate(ENVOYS):
        envoy = {
            "name": name,
            "director": "localhost:50051",
            "certificates": "certificates",
            "devices": "cpu",
            "state": "envoys",
            "shard_descriptor": entry_of("keyword_spotting", rank),
        }
        write_yaml(target / f"{name}.yaml", envoy)
    workspace = {"director": "localhost:50051", "certificates": "certificates", "name": "workspace"}
    write_yaml(target / "workspace_config.yaml", workspace)


def main() -> None:
    """Write everything for the version that is installed."""
    protocol = getattr(federation.protocol, "VERSION", 0)
    version = project_version().replace(".", "_")
    target = Path(__file__).parent / f"written_by_{version}_protocol_{protocol}"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        code = code_hash("keyword_spotting")
        facts: dict[str, Any] = {
            "version": project_version(),
            "protocol": protocol,
            "code_hash": code,
            "experiments": {},
        }
        for experiment in EXPERIMENTS:
            facts["experiments"][experiment] = write_experiment(experiment, target / experiment, work)
        write_configs(target / "configs")
        plan = target / "keyword_spotting" / "plan.yaml"
        for name in ("state", "calls"):
            (work / name).mkdir()
        facts["state"] = write_state(plan, target / "state", work / "state", make_data)
        write_calls(plan, target / "calls.jsonl.xz", work / "calls", make_data)
        (target / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
