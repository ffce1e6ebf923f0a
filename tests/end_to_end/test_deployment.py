"""A deployed federation as its users meet it: deploy, submit, watch, stop, take home the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from federation.errors import ExperimentFailed
from tests.deployment import WORDS, Deployment, shard_entry


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
