"""A deployed federation as its users meet it: deploy, submit, watch, stop, take home the model."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from federation.errors import ExperimentFailed, InputError
from tests.checkout import ROOT
from tests.deployment import TINY_PLAN, WORDS, Deployment, shard_entry, write_yaml
from workspace.client import Federation


def test_a_plan_is_submitted_watched_and_its_model_taken_home(
    two_envoys: Deployment, plan_file: Path, tmp_path: Path, speech: Path
) -> None:
    fed = two_envoys.fed
    online = json.loads(fed("envoys", "--json"))
    assert [e["name"] for e in online] == ["north", "south"]
    assert online[0]["classes"] == WORDS
    assert online[0]["devices"][0]["name"] == "cpu"
    assert online[0]["devices"][0]["memory"] > 2**30

    name = fed("submit", str(plan_file)).strip()
    assert name == "tiny"
    fed("watch", name, "--quiet")

    [info] = json.loads(fed("list", "--json"))
    assert info["state"] == "finished"
    assert info["cohort"] == ["north", "south"]
    assert info["round"] == info["rounds"] == 2

    events = [json.loads(line) for line in fed("watch", name, "--json").splitlines()]
    assert [e["id"] for e in events] == list(range(1, len(events) + 1)), "events are numbered without gaps"
    assert [e["kind"] for e in events if e["kind"] != "result"] == [
        "submitted",
        "started",
        "round_started",
        "round_closed",
        "round_started",
        "round_closed",
        "round_started",
        "round_closed",
        "finished",
    ]
    assert "accuracy=" in fed("logs", name)

    fed("model", name, "-o", str(tmp_path / "model"), "--which", "last")
    from transformers import pipeline

    clip, rate = soundfile.read(next((speech / "yes").glob("*.wav")), dtype="float32")
    classify = pipeline("audio-classification", model=str(tmp_path / "model"))
    scores = classify({"raw": clip, "sampling_rate": rate})
    assert {s["label"] for s in scores} <= set(WORDS)


def test_the_same_in_python_with_metrics_as_a_data_frame(two_envoys: Deployment, plan_file: Path) -> None:
    with two_envoys.federation() as federation:
        experiment = federation.submit(plan_file, ["aggregator.settings.rounds_to_train=1"], name="mine")
        info = experiment.watch(show=False)
        metrics = experiment.metrics()
        aggregate = metrics.query("origin == 'aggregator' and task == 'aggregated_model_validation'")
        assert sorted(set(aggregate["round"])) == [0, 1], "the last aggregate is validated too"
        accuracy = aggregate.query("metric == 'accuracy'").set_index("round")["value"]
        assert info.best_score == accuracy[info.best_round] == accuracy.max()
        sites = metrics.query("task == 'aggregated_model_validation' and round == 1 and metric == 'accuracy'")
        assert set(sites["origin"]) == {"aggregator", "north", "south"}
        last = experiment.tensors("last")
        assert all(np.isfinite(value).all() for value in last.values())
        again = federation.experiment("mine").info()
        assert again.state == "finished"


def test_two_experiments_at_once(deployment: Deployment, speech: Path, plan_file: Path) -> None:
    deployment.start_director()
    for rank, name in enumerate(("north", "south")):
        deployment.start_envoy(name, shard_entry(speech, rank, 2), devices=["cpu", "cpu"])
    with deployment.federation() as federation:
        first = federation.submit(plan_file, ["aggregator.settings.rounds_to_train=40"])
        second = federation.submit(plan_file)
        assert second.name == "tiny-2"
        for event in first.events(follow=True):
            if event.kind == "round_closed":
                break
        assert second.watch(show=False).state == "finished"
        assert first.info().state == "running", "the second ran beside the first"
        assert first.stop().state == "stopped"
        with pytest.raises(ExperimentFailed, match="stopped"):
            first.watch(show=False)
        third = federation.submit(plan_file, ["aggregator.settings.rounds_to_train=1"])
        assert third.watch(show=False).state == "finished", "a stopped one leaves the envoys free"


def test_an_envoy_that_starts_before_its_director_connects_when_it_is_there(
    deployment: Deployment, speech: Path, plan_file: Path
) -> None:
    first = deployment.start_director()
    listen = f"127.0.0.1:{deployment.address.rpartition(':')[2]}"
    assert first.end() == 0, "SIGTERM stops the director cleanly"

    envoy = deployment.start_envoy("north", shard_entry(speech, 0, 1), wait=False)
    envoy.wait_for("does not answer.*trying again")
    deployment.start_director(listen=listen)
    envoy.wait_for("connected to the director")
    assert envoy.count("trying again") == 1, "it says once that the director is away"
    with deployment.federation() as federation:
        overrides = ["federation.settings.envoys=1", "aggregator.settings.rounds_to_train=1"]
        assert federation.submit(plan_file, overrides).watch(show=False).state == "finished"
    assert envoy.end() == 0, "SIGTERM stops the envoy cleanly"


def test_an_experiment_outlives_its_director_and_a_worker_that_are_killed(
    two_envoys: Deployment, plan_file: Path
) -> None:
    import psutil

    with two_envoys.federation() as federation:
        quiet = federation.submit(plan_file)
        undisturbed = quiet.watch(show=False).exchanged_sha256
        disturbed = federation.submit(plan_file)
        events = disturbed.events(follow=True)
        for event in events:
            if event.kind == "result":
                break
        listen = f"127.0.0.1:{two_envoys.address.rpartition(':')[2]}"
        two_envoys.director.end(signal.SIGKILL)
        for envoy in two_envoys.services[1:]:
            for worker in psutil.Process(envoy.process.pid).children():
                worker.kill()
                break
        two_envoys.start_director(listen=listen)
        *_, last = events
        assert last.kind == "finished", "the watcher sees the end, across the restart"
        assert disturbed.info().exchanged_sha256 == undisturbed, "the same bits as undisturbed"


def test_an_envoy_that_is_killed_takes_its_worker_along_and_goes_on_when_it_is_back(
    two_envoys: Deployment, plan_file: Path
) -> None:
    import psutil

    with two_envoys.federation() as federation:
        undisturbed = federation.submit(plan_file).watch(show=False).exchanged_sha256
        disturbed = federation.submit(plan_file)
        events = disturbed.events(follow=True)
        next(event for event in events if event.kind == "round_started")
        north = two_envoys.services[1]
        workers = psutil.Process(north.process.pid).children()
        north.end(signal.SIGKILL)
        gone, alive = psutil.wait_procs(workers, timeout=30)
        assert gone == workers
        assert not alive, "nobody trains on without an agent"
        two_envoys.start("envoy", "start", "-c", "north.yaml")
        *_, last = events
        assert last.kind == "finished"
        assert disturbed.info().exchanged_sha256 == undisturbed


def test_a_plan_waits_and_says_for_what(two_envoys: Deployment, plan_file: Path) -> None:
    with two_envoys.federation() as federation:
        waiting = federation.submit(plan_file, ["federation.settings.envoys=3"])
        assert "2 of 3" in waiting.info().reason
        other = federation.submit(plan_file, ["federation.settings.dataset=other_words"], name="other")
        reason = other.info().reason
        assert "north holds speech_commands, the plan asks for other_words" in reason
        ran = federation.submit(plan_file, ["aggregator.settings.rounds_to_train=1"])
        assert ran.watch(show=False).state == "finished", "those that wait hold up nobody"
        assert waiting.stop().state == "stopped"


def test_a_site_that_fails_is_named_and_the_next_experiment_is_not_harmed(
    two_envoys: Deployment, plan_file: Path
) -> None:
    with two_envoys.federation() as federation:
        wild = federation.submit(
            plan_file,
            ["task_runner.settings.learning_rate=1e30", "task_runner.settings.epochs=4"],
            name="wild",
        )
        with pytest.raises(ExperimentFailed, match=r"(north|south) failed: .*learning_rate"):
            wild.watch(show=False)
        failed = [e for e in wild.events() if e.kind == "envoy_failed"]
        assert failed, "the failure is reported"
        assert "Traceback" in failed[0].body["traceback"]
        assert "Traceback" in two_envoys.fed("logs", "wild")
        after = federation.submit(plan_file, ["aggregator.settings.rounds_to_train=1"])
        assert after.watch(show=False).state == "finished"


def test_a_plan_starts_from_the_result_of_an_earlier_experiment(
    two_envoys: Deployment, plan_file: Path
) -> None:
    one_round = ["aggregator.settings.rounds_to_train=1"]
    with two_envoys.federation() as federation:
        earlier = federation.submit(plan_file, one_round, name="earlier")
        sha256 = earlier.watch(show=False).exchanged_sha256
        start = "federation.settings.start_from={experiment: earlier, which: last}"
        later = federation.submit(plan_file, [*one_round, start], name="later")
        assert later.info().state in ("queued", "running")
        first_round = next(e for e in later.events(follow=True) if e.kind == "round_closed")
        validated = next(e for e in earlier.events() if e.kind == "round_closed" and e.body["round"] == 1)
        assert (
            first_round.body["metrics"]["aggregated_model_validation"]
            == validated.body["metrics"]["aggregated_model_validation"]
        ), "round 0 measures the model that it starts from"
        assert sha256 != later.watch(show=False).exchanged_sha256
        with pytest.raises(InputError, match="no experiment 'nobody'"):
            federation.submit(plan_file, ["federation.settings.start_from={experiment: nobody, which: last}"])


def test_a_second_envoy_is_a_copy_with_another_name(deployment: Deployment, speech: Path) -> None:
    """As in OpenFL's tutorial: copy the config and the script, change the name, make its certificate."""
    repository = ROOT
    deployment.start_director()
    deployment.fed("certify", "-o", str(deployment.certificates), "envoy", "envoy_two")
    second = deployment.folder / "second_envoy"
    second.mkdir()
    for file in ("envoy_config.yaml", "start_envoy.sh"):
        (second / file).write_bytes((repository / "envoy" / file).read_bytes())
    (second / "start_envoy.sh").chmod(0o755)
    config: Any = yaml.safe_load((second / "envoy_config.yaml").read_text())
    config |= {
        "name": "envoy_two",
        "director": deployment.address,
        "certificates": "../certificates",
        "state": str(deployment.folder / "envoys"),
        "shard_descriptor": shard_entry(speech, 1, 2),
    }
    write_yaml(second / "envoy_config.yaml", config)
    envoy = deployment.start("envoy", "start", "-c", str(second / "envoy_config.yaml"))
    envoy.wait_for("connected to the director at .* as envoy_two")
    assert (deployment.folder / "envoys" / "envoy_two" / "envoy.log").is_file(), (
        "its state is keyed by its name"
    )
    assert {p.name for p in second.iterdir()} == {"envoy_config.yaml", "start_envoy.sh"}


def write_checkpoint(folder: Path, seed: int) -> Path:
    """Write a small wav2vec 2.0 checkpoint in the Hugging Face format, as a hub would deliver it."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(seed)
    settings = TINY_PLAN["task_runner"]["settings"]["model"]
    Wav2Vec2Model(Wav2Vec2Config(**settings)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def test_a_checkpoint_is_named_by_id_and_each_site_maps_it_to_its_own_folder(
    deployment: Deployment, speech: Path, tiny_plan: dict[str, Any], tmp_path: Path
) -> None:
    same, copy, other = (
        write_checkpoint(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    settings = tiny_plan["task_runner"]["settings"]
    del settings["model"]
    settings |= {"checkpoint": "example/wav2vec2-small", "freeze_feature_encoder": True}
    plan = write_yaml(tmp_path / "plan.yaml", tiny_plan)
    deployment.start_director()
    entries = [shard_entry(speech, rank, 3) for rank in range(3)]
    deployment.start_envoy("north", entries[0], checkpoints={"example/wav2vec2-small": str(same)})
    deployment.start_envoy("south", entries[1], checkpoints={"example/wav2vec2-small": str(copy)})
    with Federation(
        deployment.address, deployment.certificates, checkpoints={"example/wav2vec2-small": str(same)}
    ) as federation:
        first = federation.submit(plan, ["aggregator.settings.rounds_to_train=1"])
        assert first.watch(show=False).state == "finished"
        assert not [name for name in first.tensors("last") if "feature_extractor" in name], (
            "the frozen part stays"
        )
        first.model(tmp_path / "model")

        deployment.start_envoy("west", entries[2], checkpoints={"example/wav2vec2-small": str(other)})
        second = federation.submit(plan, ["federation.settings.envoys=3"])
        with pytest.raises(
            ExperimentFailed, match=r"west failed: west: the frozen part of the model differs"
        ):
            second.watch(show=False)

    with deployment.federation() as without, pytest.raises(InputError, match="checkpoints") as error:
        without.submit(plan)
    assert "example/wav2vec2-small" in str(error.value)
