"""Write what this version leaves behind for those who come after: files, models, a director's state, bytes of calls.

    python -m tests.compatibility.write

makes ``tests/compatibility/written_by_<version>/``, which later versions must open, run and finish
(`tests.compatibility.test_older_versions`). Run it once for a version, before the next one changes anything, and commit what
it made: it holds no keys, no paths and no addresses of the machine.
"""

from __future__ import annotations

import copy
import json
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from federation.code import code_hash, project_version
from federation.plan import load_plan
from federation.tensors import digest
from tests import image_data, sentiment_data, translation_data
from tests.compatibility.recording import RecordingProxy
from tests.deployment import FED, TINY_PLAN, WORDS, Deployment, Service, shard_entry, write_yaml
from tests.speech_data import make_speech_folder

ENVOYS = ("north", "south")
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


def write_state(plan: Path, target: Path, work: Path) -> dict[str, Any]:
    """Kill a director that has experiments finished, stopped, failed, queued and one running with results of its open round."""
    from envoy.client import GrpcAggregatorClient
    from envoy.connection import Connection

    speech = make_data("keyword_spotting", work)
    with Deployment(work) as deployment:
        deployment.start_director()
        for rank, name in enumerate(ENVOYS):
            deployment.start_envoy(name, shard_entry(speech, rank, 2))
        with deployment.federation() as federation:
            first = federation.submit(plan, name="first")
            sha256 = first.watch(show=False).exchanged_sha256
            federation.submit(plan, ["federation.settings.envoys=3"], name="stopped").stop()
            failed = federation.submit(plan, ["aggregator.settings.rounds_to_train=200"], name="failed")
            next(e for e in failed.events(follow=True) if e.kind == "round_started")
            with Connection(deployment.address, "north", str(work / "certificates")).link() as link:
                GrpcAggregatorClient(link, "failed").report_failure("the data have gone", "Traceback\n  ...")
            second = federation.submit(plan, name="second")
            federation.submit(plan, name="third")
            for event in second.events(follow=True):
                if event.kind == "result" and event.body["round"] == 1 and event.body["task"] == "train":
                    break
            deployment.director.end(signal.SIGKILL)
        assert digest(first_tensors(work / "state", sha256)) == sha256
    state = work / "state"
    with sqlite3.connect(state / "journal.sqlite") as journal:
        journal.execute("PRAGMA journal_mode=DELETE")
        states = dict(journal.execute("SELECT name, state FROM experiments").fetchall())
        results = journal.execute("SELECT COUNT(*) FROM results").fetchone()[0]
    journal.close()
    others = {"stopped": "stopped", "failed": "failed"}
    assert states == others | {"first": "finished", "second": "running", "third": "queued"}, states
    assert results, "the open round has no results"
    target.mkdir()
    shutil.copy(state / "journal.sqlite", target)
    shutil.copytree(state / "blobs", target / "blobs", ignore=shutil.ignore_patterns("*.part"))
    return {"exchanged_sha256": sha256, "results_of_the_open_round": results}


def first_tensors(state: Path, sha256: str) -> Any:
    """Read a blob of a state folder."""
    from federation.tensors import open_mapped

    return open_mapped(state / "blobs" / sha256)


def write_calls(plan: Path, target: Path, work: Path) -> None:
    """Run an experiment through a proxy, and make by hand the calls that it has no need of."""
    import grpc

    from envoy.client import GrpcAggregatorClient
    from envoy.connection import Connection
    from federation.link import KNOCK
    from federation.protocol import federation_pb2 as pb
    from federation.protocol import federation_pb2_grpc as rpc
    from workspace.client import Federation

    speech = make_data("keyword_spotting", work)
    with Deployment(work) as deployment:
        write_yaml(work / "director_config.yaml", {"listen": "127.0.0.1:0", "state": "state"})
        director = deployment.start("director", "start", "-c", "director_config.yaml", "--insecure")
        port = director.wait_for(r"director listening on .*:(\d+)")[1]
        proxy = RecordingProxy(f"127.0.0.1:{port}")
        for rank, name in enumerate(ENVOYS):
            start_insecure_envoy(deployment, name, proxy.address, shard_entry(speech, rank, 2))
        with Federation(proxy.address, insecure=True) as federation:
            federation.envoys()
            done = federation.submit(plan, ["aggregator.settings.rounds_to_train=1"], name="done")
            done.watch(show=False)
            done.tensors("best")
            broken = federation.submit(plan, ["aggregator.settings.rounds_to_train=200"], name="broken")
            next(e for e in broken.events(follow=True) if e.kind == "round_started")
            with Connection(proxy.address, "north", None).link() as link:
                client = GrpcAggregatorClient(link, "broken")
                client.report_failure("the disk is full", "Traceback (most recent call last):\n  ...")
            federation.submit(plan, ["federation.settings.envoys=3"], name="waits").stop()
            federation.experiments()
        # A caller that does not say who it is.
        with grpc.insecure_channel(proxy.address) as channel, suppress(grpc.RpcError):
            rpc.DirectorStub(channel).ListEnvoys(pb.Empty(), timeout=30)
        for service in reversed(deployment.services):
            service.end()
        proxy.close()
    kept: dict[tuple[str, str], Any] = {}
    for call in proxy.calls:
        if call.method == KNOCK:
            continue
        which = call.code
        if call.method.endswith("SendTaskResults"):
            which = pb.ResultChunk.FromString(call.requests[0]).info.task
        if call.requests and (call.responses or call.code != "OK"):
            kept.setdefault((call.method, which), call)
    methods = {method.rpartition("/")[2] for method, _ in kept}
    service = pb.DESCRIPTOR.services_by_name["Director"]
    assert methods == {method.name for method in service.methods}, methods
    target.write_text("".join(json.dumps(call.to_json()) + "\n" for call in kept.values()))


def start_insecure_envoy(deployment: Deployment, name: str, director: str, shard: dict[str, Any]) -> Service:
    """Start an envoy without certificates and wait until it is connected."""
    config = {
        "name": name,
        "director": director,
        "devices": "cpu",
        "state": "envoys",
        "shard_descriptor": shard,
    }
    (deployment.folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    envoy = deployment.start("envoy", "start", "-c", f"{name}.yaml", "--insecure")
    envoy.wait_for("connected to the director")
    return envoy


def main() -> None:
    """Write everything for the version that is installed."""
    target = Path(__file__).parent / f"written_by_{project_version().replace('.', '_')}"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        code = code_hash("keyword_spotting")
        facts: dict[str, Any] = {"version": project_version(), "code_hash": code, "experiments": {}}
        for experiment in EXPERIMENTS:
            facts["experiments"][experiment] = write_experiment(experiment, target / experiment, work)
        write_configs(target / "configs")
        plan = target / "keyword_spotting" / "plan.yaml"
        for name in ("state", "calls"):
            (work / name).mkdir()
        facts["state"] = write_state(plan, target / "state", work / "state")
        write_calls(plan, target / "calls.jsonl", work / "calls")
        (target / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(target)


if __name__ == "__main__":
    main()
