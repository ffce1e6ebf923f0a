"""A real director whose disk fills up, or loses a write, in the middle of an experiment; and its state backed up meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.deployment import DEADLINE, Deployment, Service, shard_entry, write_yaml
from tests.end_to_end.test_coming_back import restart, workspace
from tests.full_disk import fill


@pytest.fixture
def on_small_disk(deployment: Deployment, speech: Path, small_disk: Path) -> Deployment:
    """A director whose state lies on a small disk, and two envoys, north and south, whose state does not."""
    deployment.start_director(state=str(small_disk / "state"))
    for rank, name in enumerate(("north", "south")):
        deployment.start_envoy(name, shard_entry(speech, rank, 2))
    return deployment


def test_a_full_disk_gives_nothing_up_and_the_same_bits_come_when_there_is_room(
    on_small_disk: Deployment, plan_file: Path, small_disk: Path
) -> None:
    director, _, south = on_small_disk.services
    with on_small_disk.federation() as federation:
        undisturbed = federation.submit(plan_file).watch(show=False).exchanged_sha256
        # The round stays open: south does not answer.
        south.process.send_signal(signal.SIGSTOP)
        experiment = federation.submit(plan_file, name="disturbed")
        events = experiment.events(follow=True)
        next(event for event in events if event.kind == "round_started")
        ballast = fill(small_disk)
        south.process.send_signal(signal.SIGCONT)
        director.wait_for("disk full: nothing is taken in until there is room")

        listed = workspace(on_small_disk, "list")
        listed.wait_for("fed: the director takes nothing in for now: disk full")
        assert listed.process.wait(DEADLINE) == 0
        asked = workspace(on_small_disk, "stop", "disturbed")
        asked.wait_for(
            "fed: the director takes nothing in .disk full.; it goes on by itself when there is room"
        )
        assert asked.process.wait(DEADLINE) == 4, "nothing is stopped that could not be written down"
        assert experiment.info().state == "running"

        ballast.unlink()
        director.wait_for("there is room .* again: the director goes on")
        *rest, last = events
        assert last.kind == "finished"
        assert {event.kind for event in rest} <= {"round_started", "result", "round_closed"}
        assert experiment.info().exchanged_sha256 == undisturbed
    assert on_small_disk.fed("list").count("finished") == 2
    assert director.count("Traceback") == 0


def test_a_director_that_is_started_on_a_full_disk_waits_for_room(
    deployment: Deployment, small_disk: Path
) -> None:
    (small_disk / "state").mkdir()
    ballast = fill(small_disk)
    write_yaml(
        deployment.folder / "director_config.yaml",
        {"listen": "127.0.0.1:0", "certificates": "certificates", "state": str(small_disk / "state")},
    )
    director = deployment.start("director", "start", "-c", "director_config.yaml")
    director.wait_for("disk full: .*the director starts by itself when there is room")
    ballast.unlink()
    director.wait_for("director listening on")
    assert director.end() == 0


def test_a_write_that_the_disk_has_lost_ends_the_director_which_goes_on_from_what_is_there(
    two_envoys: Deployment, plan_file: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    director = two_envoys.director
    with two_envoys.federation() as federation:
        undisturbed = federation.submit(plan_file).watch(show=False).exchanged_sha256
        two_envoys.services[2].process.send_signal(signal.SIGSTOP)
        experiment = federation.submit(plan_file, name="disturbed")
        events = experiment.events(follow=True)
        next(event for event in events if event.kind == "round_started")
        tracing = losing_writes(director, two_envoys.folder)
        two_envoys.services[2].process.send_signal(signal.SIGCONT)
        director.wait_for("CRITICAL .*the disk has lost a write")
        assert director.process.wait(DEADLINE) == 1
        tracing.process.wait(DEADLINE)
        restart(two_envoys)
        *_, last = events
        assert last.kind == "finished"
        assert experiment.info().exchanged_sha256 == undisturbed


def losing_writes(director: Service, folder: Path) -> Service:
    """Let each fsync of a process fail from now on, as a disk does that has lost what was written."""
    calls = "fsync,fdatasync"
    arguments = [
        "-f",
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error=EIO",
        "-p",
        str(director.process.pid),
    ]
    tracing = Service(arguments, folder, dict(os.environ), program=["strace"])
    try:
        tracing.wait_for("attached")
    except AssertionError:
        pytest.skip(f"strace may not attach here: {tracing.lines}")
    return tracing


def test_a_backup_of_a_director_that_runs_is_restored_by_making_it_the_state_folder(
    two_envoys: Deployment, plan_file: Path
) -> None:
    with two_envoys.federation() as federation:
        undisturbed = federation.submit(plan_file).watch(show=False).exchanged_sha256
        experiment = federation.submit(plan_file, name="disturbed")
        events = experiment.events(follow=True)
        next(event for event in events if event.kind == "result")
        two_envoys.fed("director", "backup", "-c", "director_config.yaml", "backup")
        two_envoys.fed("director", "check", "-c", "director_config.yaml", "--set", "state=backup")
        assert experiment.watch(show=False).exchanged_sha256 == undisturbed

        two_envoys.director.end(signal.SIGKILL)
        shutil.rmtree(two_envoys.folder / "state")
        (two_envoys.folder / "backup").rename(two_envoys.folder / "state")
        restart(two_envoys)
        assert (
            federation.experiment("disturbed", patience=DEADLINE).watch(show=False).exchanged_sha256
            == undisturbed
        )
