"""Fixtures that more than one file of tests uses."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployment import TINY_PLAN, WORDS, Deployment, shard_entry, write_yaml
from tests.speech_data import make_speech_folder

# The tests share two cores with the processes that they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthesised Speech Commands folder of four words and a few speakers."""
    return make_speech_folder(tmp_path_factory.mktemp("speech") / "speech", words=WORDS, speakers=12, takes=2)


@pytest.fixture
def tiny_plan() -> dict[str, Any]:
    """A plan that trains in a second, to be changed at will."""
    return copy.deepcopy(TINY_PLAN)


@pytest.fixture
def plan_file(tmp_path: Path, tiny_plan: dict[str, Any]) -> Path:
    """The tiny plan as a file."""
    return write_yaml(tmp_path / "tiny.yaml", tiny_plan)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A folder with certificates, in which services can be started."""
    with Deployment(tmp_path) as running:
        yield running


@pytest.fixture
def two_envoys(deployment: Deployment, speech: Path) -> Deployment:
    """A director and two envoys, north and south, that are online."""
    deployment.start_director()
    waiting = [
        deployment.start_envoy(name, shard_entry(speech, rank, 2), wait=False)
        for rank, name in enumerate(("north", "south"))
    ]
    for envoy in waiting:
        envoy.wait_for("connected to the director")
    return deployment


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two MiB."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(
            "a small tmpfs cannot be mounted here: it wants root, outside a container that forbids it"
        )
    yield folder
    # Not in the way of whoever may hold a file on it still.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
