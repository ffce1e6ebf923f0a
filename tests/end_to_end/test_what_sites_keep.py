"""Personal layers in a deployment: they outlive stops, failures and full disks, and go with the experiment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.checkout import PLANS
from tests.deployment import Deployment, Service
from tests.image_data import CLASSES, make_image_folder, shard_entry

PLAN = PLANS / "image_tiny.yaml"
SETS = [
    f"federation.settings.classes={json.dumps(CLASSES)}",
    "federation.settings.dataset=colours",
    "task_runner.settings.image_size=16",
    "task_runner.settings.batch_size=8",
    "task_runner.settings.batch_norm=local",
]
LONG = "aggregator.settings.rounds_to_train=1000"
SHORT = "aggregator.settings.rounds_to_train=2"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_image_folder(tmp_path / "images")


@pytest.fixture
def sites(deployment: Deployment, images: Path) -> Iterator[list[Service]]:
    """A director, north and south."""
    deployment.start_director()
    envoys = [
        deployment.start_envoy(name, shard_entry(images, rank, 2), wait=False)
        for rank, name in enumerate(("north", "south"))
    ]
    for envoy in envoys:
        envoy.wait_for("connected to the director")
    yield envoys


def kept(deployment: Deployment, envoy: str, experiment: str) -> list[Path]:
    """The files that an envoy keeps of an experiment."""
    return list((deployment.folder / "envoys" / envoy / "experiments" / experiment).glob("*"))


def test_what_sites_keep_outlives_a_stop_and_goes_when_the_experiment_has_finished(
    deployment: Deployment, sites: list[Service]
) -> None:
    with deployment.federation() as federation:
        stopped = federation.submit(PLAN, [*SETS, "federation.settings.envoys=2", LONG], name="stopped")
        next(event for event in stopped.events(follow=True) if event.kind == "round_closed")
        stopped.stop()
        for envoy in sites:
            envoy.wait_for("experiment stopped: has ended here")
        finished = federation.submit(PLAN, [*SETS, "federation.settings.envoys=2", SHORT], name="finished")
        assert finished.watch(show=False).state == "finished"
        for name, envoy in zip(("north", "south"), sites, strict=True):
            envoy.wait_for("experiment finished: nothing of it is kept here any more")
            assert not (deployment.folder / "envoys" / name / "experiments" / "finished").exists()
            assert kept(deployment, name, "stopped")


def test_a_site_that_failed_and_was_away_at_the_end_forgets_when_it_is_back(
    deployment: Deployment, sites: list[Service]
) -> None:
    """Its worker is killed as soon as it is there, four times in a row."""
    north = sites[0]
    with deployment.federation() as federation:
        experiment = federation.submit(
            PLAN,
            [*SETS, "federation.settings.envoys=1", "aggregator.settings.rounds_to_train=60"],
            name="birds",
        )
        events = experiment.events(follow=True)
        next(event for event in events if event.kind == "round_closed")
        for time in range(1, 5):
            north.wait_for("experiment birds: starts on cpu", times=time)
            kill_worker(north)
        failed = next(event for event in events if event.kind == "envoy_failed")
        assert failed.body["reason"] == "its process was killed by signal 9, 4 times in a row"
        assert kept(deployment, "north", "birds"), "it may be gone on with"
        assert north.end() == 0
        assert experiment.watch(show=False).state == "finished"
        assert kept(deployment, "north", "birds"), "nobody could tell it"
        back = deployment.start("envoy", "start", "-c", "north.yaml")
        back.wait_for("experiment birds: nothing of it is kept here any more")


def test_an_envoy_whose_disk_is_full_says_so_and_goes_on_with_the_same_bits_when_there_is_room(
    deployment: Deployment, images: Path, small_disk: Path
) -> None:
    deployment.start_director()
    envoy = deployment.start_envoy("north", shard_entry(images, 0, 1), state=str(small_disk))
    sets = [*SETS, "federation.settings.envoys=1", SHORT]
    with deployment.federation() as federation:
        undisturbed = federation.submit(PLAN, sets).watch(show=False).exchanged_sha256
        envoy.wait_for("nothing of it is kept here any more")
        full = small_disk / "full"
        fill(full)
        disturbed = federation.submit(PLAN, sets, name="birds")
        deployment.director.wait_for("birds: the envoy north cannot work for now: its disk is full")
        assert disturbed.info().state == "running"
        full.unlink()
        envoy.wait_for("experiment birds: goes on, what kept it has passed")
        assert disturbed.watch(show=False).exchanged_sha256 == undisturbed
        assert not [event for event in disturbed.events() if event.kind == "envoy_failed"]


def kill_worker(envoy: Service) -> None:
    """Kill an envoy's worker."""
    [worker] = psutil.Process(envoy.process.pid).children()
    worker.kill()


def fill(file: Path) -> None:
    """Write until the disk takes nothing more."""
    with pytest.raises(OSError, match="No space left"), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
