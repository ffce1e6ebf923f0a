"""Director and envoys are brought to this version while an experiment runs: it ends with the bits that it would have had."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.deployment import TINY_PLAN, Deployment, shard_entry, write_yaml
from workspace.client import Experiment

BEFORE = "ae80293"  # of protocol 0 and journal version 2
NAMES = ("north", "south")
UNSIGNED = {"unsigned": True}  # as the version before submits; its envoys do not know the setting


@pytest.fixture
def version_before(tmp_path: Path) -> Iterator[Path]:
    """A checkout of the version before."""
    git = ["git", "-C", str(ROOT)]
    if subprocess.run([*git, "cat-file", "-e", BEFORE], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip(f"the checkout's history lacks {BEFORE}")
    folder = tmp_path / "before"
    subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(folder), BEFORE], check=True)
    yield folder
    subprocess.run([*git, "worktree", "remove", "--force", str(folder)], check=True)


@pytest.mark.sweep
@pytest.mark.parametrize("first", ["director", "envoys"])
def test_an_experiment_goes_on_over_an_upgrade(
    first: str, version_before: Path, deployment: Deployment, speech: Path
) -> None:
    """While south is away, and the round cannot close, north and the director are upgraded, each with the other as it was."""

    deployment.env["PYTHONPATH"] = str(version_before)
    director = deployment.start_director()
    shards = {name: shard_entry(speech, rank, len(NAMES)) for rank, name in enumerate(NAMES)}
    north, south = (deployment.start_envoy(name, shard) for name, shard in shards.items())
    for name in ("undisturbed", "running"):
        write_yaml(deployment.folder / f"{name}.yaml", TINY_PLAN)
        deployment.fed("submit", f"{name}.yaml")
    with deployment.federation() as federation:
        undisturbed, running = (federation.experiment(name) for name in ("undisturbed", "running"))
        expected = undisturbed.watch(show=False).exchanged_sha256
        next(event for event in running.events(follow=True) if event.kind == "round_started")
        south.end()
        wait_for_results_of(running, "north")
        deployment.env["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        if first == "envoys":
            north.end()
            north = deployment.start_envoy("north", shards["north"], policy=UNSIGNED)
        director.end()
        director = deployment.start_director(listen=deployment.address)
        director.wait_for("envoy north is online")
        if first == "director":
            north.end()
            north = deployment.start_envoy("north", shards["north"], policy=UNSIGNED)
        assert running.info().state == "running", "south is away"
        south = deployment.start_envoy("south", shards["south"], policy=UNSIGNED)
        ended = running.watch(show=False)
        events = list(running.events())
    assert (ended.state, ended.exchanged_sha256) == ("finished", expected)
    assert [event.body["round"] for event in events if event.kind == "round_closed"] == [0, 1, 2]
    results = Counter(
        (event.body["envoy"], event.body["round"], event.body["task"])
        for event in events
        if event.kind == "result"
    )
    assert set(results.values()) == {1}, "none was made again that had been recorded"
    trained = r"task_runner: round {}: \d+ samples"
    assert (north.count(trained.format(0)), north.count(trained.format(1))) == (0, 1)
    assert (south.count(trained.format(0)), south.count(trained.format(1))) == (1, 1)


def wait_for_results_of(experiment: Experiment, envoy: str) -> None:
    """Wait until all that an envoy has to deliver in round 0 is recorded."""
    missing = set(TINY_PLAN["tasks"])
    for event in experiment.events(follow=True):
        if event.kind == "result" and event.body["envoy"] == envoy:
            missing.discard(event.body["task"])
        if not missing:
            return
