"""Director and envoys are brought to this version while an experiment runs: it ends with the bits that it would have had."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.deployment import TINY_PLAN, Deployment, shard_entry, write_yaml

BEFORE = "ae80293"  # of protocol 0 and journal version 2
NAMES = ("north", "south")


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
    plan = write_yaml(deployment.folder / "plan.yaml", TINY_PLAN)
    deployment.env["PYTHONPATH"] = str(version_before)
    director = deployment.start_director()
    shards = {name: shard_entry(speech, rank, len(NAMES)) for rank, name in enumerate(NAMES)}
    envoys = [deployment.start_envoy(name, shard) for name, shard in shards.items()]
    with deployment.federation() as federation:
        undisturbed = federation.submit(plan, name="undisturbed").watch(show=False)
        running = federation.submit(plan, name="running")
        next(e for e in running.events(follow=True) if e.kind == "result" and e.body["round"] == 1)
        for service in [director, *envoys] if first == "director" else [*envoys, director]:
            service.end()
        deployment.env["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        deployment.start_director(listen=deployment.address)
        for name, shard in shards.items():
            deployment.start_envoy(name, shard)
        assert running.info().state == "running", "it was stopped in the middle"
        ended = running.watch(show=False)
    assert ended.state == undisturbed.state == "finished"
    assert ended.exchanged_sha256 == undisturbed.exchanged_sha256
