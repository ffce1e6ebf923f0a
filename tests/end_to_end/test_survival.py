"""A deployed federation whose parts come late, are killed, or fail."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from federation.errors import ExperimentFailed
from tests.deployment import Deployment, shard_entry


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


def test_a_site_that_fails_is_named_and_the_next_experiment_is_not_harmed(
    two_envoys: Deployment, plan_file: Path
) -> None:
    with two_envoys.federation() as federation:
        wild = federation.submit(
            plan_file,
            ["task_runner.settings.learning_rate=1e30", "task_runner.settings.epochs=4"],
            name="wild",
        )
        said = r"diverged: at 2 of 2 envoys \(north, south\): .*learning_rate"
        with pytest.raises(ExperimentFailed, match=said):
            wild.watch(show=False)
        diverged = [e for e in wild.events() if e.kind == "envoy_diverged"]
        assert len(diverged) == 2, "both have said so"
        assert "Traceback" in diverged[0].body["traceback"]
        assert "Traceback" in two_envoys.fed("logs", "wild")
        after = federation.submit(plan_file, ["aggregator.settings.rounds_to_train=1"])
        assert after.watch(show=False).state == "finished"
