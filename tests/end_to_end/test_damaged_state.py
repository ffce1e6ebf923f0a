"""A director whose files were damaged or lost while it was down."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

import pytest

from federation.errors import ExperimentFailed
from tests.deployment import Deployment

ONE_ROUND = ["aggregator.settings.rounds_to_train=1"]


def blob_of(folder: Path, query: str) -> Path:
    """Find a blob of the state by what names it in the journal."""
    connection = sqlite3.connect(folder / "state" / "journal.sqlite")
    try:
        [(name,)] = connection.execute(query).fetchall()
    finally:
        connection.close()
    return folder / "state" / "blobs" / name


def test_a_damaged_result_comes_again_and_a_lost_model_harms_nobody_else(
    two_envoys: Deployment, plan_file: Path
) -> None:
    with two_envoys.federation() as federation:
        undisturbed = federation.submit(plan_file, ONE_ROUND).watch(show=False).exchanged_sha256
        disturbed = federation.submit(plan_file, ONE_ROUND, name="disturbed")
        events = disturbed.events(follow=True)
        next(event for event in events if event.kind == "round_started")
        # The round stays open: south is gone, north trains.
        two_envoys.services[2].end(signal.SIGKILL)
        next(
            e
            for e in events
            if e.kind == "result" and (e.body["envoy"], e.body["task"]) == ("north", "train")
        )
        harmed = federation.submit(plan_file, [*ONE_ROUND, "federation.settings.seed=8"], name="harmed")
        listen = f"127.0.0.1:{two_envoys.address.rpartition(':')[2]}"
        two_envoys.director.end(signal.SIGKILL)

        update = blob_of(
            two_envoys.folder,
            "SELECT blob FROM results WHERE experiment = 'disturbed' AND envoy = 'north' AND task = 'train'",
        )
        update.write_bytes(update.read_bytes()[:-1])
        model = blob_of(two_envoys.folder, "SELECT model FROM experiments WHERE name = 'harmed'")
        model.unlink()
        two_envoys.start_director(listen=listen)
        two_envoys.start("envoy", "start", "-c", "south.yaml")

        *rest, last = events
        assert last.kind == "finished"
        [dropped] = [event.body for event in rest if event.kind == "result_dropped"]
        assert (dropped["envoy"], dropped["task"], dropped["round"]) == ("north", "train", 0)
        assert disturbed.info().exchanged_sha256 == undisturbed, "the same bits as undisturbed"
        with pytest.raises(ExperimentFailed, match=f"the blob {model.name} is missing"):
            harmed.watch(show=False)
    assert "harmed" in two_envoys.fed("list")


def test_a_director_without_its_journal_says_what_to_do_and_loses_nothing(
    two_envoys: Deployment, plan_file: Path
) -> None:
    state = two_envoys.folder / "state"
    with two_envoys.federation() as federation:
        done = federation.submit(plan_file, ONE_ROUND).watch(show=False)
    listen = f"127.0.0.1:{two_envoys.address.rpartition(':')[2]}"
    two_envoys.director.end()
    (state / "journal.sqlite").rename(two_envoys.folder / "journal.sqlite")
    for _ in range(2):
        said = two_envoys.fed("director", "start", "-c", "director_config.yaml", code=3)
        assert said.count("fed: error:") == 1
        assert "put the journal back from a backup, or move the folder blobs away" in said
    (two_envoys.folder / "journal.sqlite").rename(state / "journal.sqlite")
    two_envoys.start_director(listen=listen)
    with two_envoys.federation() as federation:
        [found] = federation.experiments()
        assert found == done
        assert federation.experiment(found.name).tensors("last")
