"""A director always starts: what is not sound is asked for again, what cannot go on fails alone."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from director.attending import RETRY_SECONDS
from director.blobs import BlobStore
from director.journal import Journal
from director.rows import ResultRow
from federation.tensors import digest, pack
from tests.director.in_process import MODEL, TRAIN, TUNED, VALIDATE, Director, director, statistics

UPDATE = digest({name: np.full_like(array, 5.0) for name, array in MODEL.items()})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def begin(folder: Path) -> None:
    """Leave an experiment in the middle of its first round: north has trained, south has not."""
    with director(folder) as first:
        first.submit()
        first.connect("north", "south")
        first.report("rows", "north", VALIDATE)
        first.report("rows", "north", TRAIN, 5.0)


def undisturbed(folder: Path) -> str:
    begin(folder)
    with director(folder) as second:
        return second.finish("rows", {"north": 5.0, "south": 7.0})


@pytest.mark.parametrize("damage", [Path.unlink, truncate, alter])
def test_a_damaged_result_is_dropped_and_asked_for_again(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    begin(tmp_path)
    damage(tmp_path / "blobs" / UPDATE)
    with director(tmp_path) as second:
        [dropped] = [event.body for event in second.events("rows") if event.kind == "result_dropped"]
        assert (dropped["envoy"], dropped["task"], dropped["round"]) == ("north", TRAIN, 0)
        assert UPDATE in dropped["reason"]
        assert not (tmp_path / "blobs" / UPDATE).exists(), "what nothing names is not kept"
        second.connect("north", "south")
        aggregator = second.experiments.live("rows")
        assert aggregator is not None
        assert aggregator.get_tasks("north")[0] == [TRAIN, TUNED]
        model = second.finish("rows", {"north": 5.0, "south": 7.0})
        assert second.experiments.experiment("rows").state == "finished"
    assert model == undisturbed(tmp_path / "undisturbed"), "the same bits"
    with director(tmp_path) as third:
        assert third.kinds("rows").count("result_dropped") == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ResultRow(0, "train", "south", 10, "", pack(statistics())), "missing tensor 'weight'"),
        (ResultRow(0, "train", "west", 10, "", pack(statistics())), "not in the cohort"),
        (ResultRow(0, "wipe", "south", 10, "", pack(statistics())), "was not assigned"),
        (ResultRow(1, VALIDATE, "south", 10, "", pack(statistics())), "not wanted in round 0"),
        (ResultRow(0, VALIDATE, "south", 11, "", pack(statistics())), "11 samples are said, 10 counted"),
        (ResultRow(0, VALIDATE, "south", 10, "", b"nonsense"), "safetensors"),
        (ResultRow(0, VALIDATE, "south", 10, "", b""), "safetensors"),
        (
            ResultRow(0, VALIDATE, "south", 10, "", pack(statistics() | {"loss_sum": np.asarray(np.inf)})),
            "finite",
        ),
    ],
)
def test_a_recorded_result_is_checked_as_if_it_came_now(tmp_path: Path, row: ResultRow, said: str) -> None:
    begin(tmp_path)
    with director(tmp_path) as planted:
        planted.journal.add_result("rows", row)
    with director(tmp_path) as second:
        [dropped] = [event.body for event in second.events("rows") if event.kind == "result_dropped"]
        assert said in dropped["reason"]
        assert row not in second.journal.results("rows")
        second.finish("rows", {"north": 5.0, "south": 7.0})
        assert second.experiments.experiment("rows").state == "finished"


def test_a_replay_writes_nothing_twice(tmp_path: Path) -> None:
    begin(tmp_path)
    with director(tmp_path) as second:
        before = second.events("rows"), second.journal.results("rows")
        assert [row.task for row in before[1]] == [VALIDATE, TRAIN]
    with director(tmp_path) as third:
        assert (third.events("rows"), third.journal.results("rows")) == before


def test_a_round_whose_last_result_was_recorded_is_closed_by_the_replay(tmp_path: Path) -> None:
    """The director was killed between the last result and the end of the round; what came is not dropped."""
    begin(tmp_path)
    with director(tmp_path) as second:
        rows = [
            ResultRow(0, task, name, 10, UPDATE if task == TRAIN else "", pack(statistics()))
            for name in ("north", "south")
            for task in (VALIDATE, TRAIN, TUNED)
        ]
        for row in [*rows, ResultRow(0, VALIDATE, "west", 10, "", pack(statistics()))]:
            second.journal.add_result("rows", row)
    with director(tmp_path) as third:
        assert third.experiments.experiment("rows").round == 1
        assert third.kinds("rows").count("round_closed") == 1
        dropped = [event.body["envoy"] for event in third.events("rows") if event.kind == "result_dropped"]
        assert dropped == ["west"], "nobody else's"
        third.connect("north", "south")
        assert third.kinds("rows").count("round_started") == 2
        [closed] = [event.body for event in third.events("rows") if event.kind == "round_closed"]
        assert closed["cohort"] == ["north", "south"]


def test_results_that_are_sound_alone_and_not_together_fail_their_experiment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    with director(tmp_path) as second:
        second.submit("other", envoys=1)
        for name in ("north", "south"):
            for task in (VALIDATE, TRAIN, TUNED):
                blob = UPDATE if task == TRAIN else ""
                second.journal.add_result("rows", ResultRow(0, task, name, 10, blob, pack(statistics())))

    def unsound(*_: object) -> None:
        raise ValueError("no total")

    monkeypatch.setattr("federation.engine.checks.sums.add", unsound)
    with director(tmp_path) as third:
        row = third.experiments.experiment("rows")
        assert (row.state, row.reason) == ("failed", "round 0 cannot be ended: no total")
        third.connect("west")
        assert third.experiments.experiment("other").state == "running"


@pytest.mark.parametrize("damage", [Path.unlink, truncate, alter])
def test_a_damaged_model_fails_its_experiment_alone_and_by_name(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    with director(tmp_path) as first:
        first.submit("sound", envoys=1)
        first.submit("harmed", {"weight": np.zeros((2, 3), np.float32)}, envoys=1)
        first.submit("queued", {"weight": np.full((2, 3), 3, np.float32)}, envoys=5)
        first.connect("north")
        first.report("sound", "north", VALIDATE)
        harmed, queued = (first.experiments.experiment(name).model for name in ("harmed", "queued"))
        assert first.experiments.experiment("harmed").state == "running"
    damage(tmp_path / "blobs" / harmed)
    damage(tmp_path / "blobs" / queued)
    with director(tmp_path) as second:
        states = {row.name: (row.state, row.reason) for row in second.experiments.experiments()}
        assert states["sound"][0] == "running"
        assert states["harmed"][0] == "failed"
        assert harmed in states["harmed"][1]
        assert states["queued"][0] == "queued", "a model is looked at when it is opened"
        assert second.kinds("harmed")[-1] == "failed"
        second.connect("north", "south", "west", "east", "middle")
        row = second.experiments.experiment("queued")
        assert (row.state, queued in row.reason) == ("failed", True)
        second.finish("sound", {"north": 5.0})
        assert second.experiments.experiment("sound").state == "finished"


@pytest.mark.parametrize("plan", ["{", "[]", '{"aggregator": 1}', "{}"])
def test_an_unreadable_plan_fails_its_experiment_alone_and_is_listed(tmp_path: Path, plan: str) -> None:
    with director(tmp_path) as first:
        for name, envoys in (("sound", 1), ("harmed", 1), ("queued", 5)):
            first.submit(name, envoys=envoys)
        first.connect("north")
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        # As the migration leaves a plan that it cannot read.
        connection.execute("UPDATE experiments SET plan = ?, rounds = 0 WHERE name != 'sound'", (plan,))
    connection.close()
    with director(tmp_path) as second:
        second.connect("north", "south")
        states = {row.name: row.state for row in second.experiments.experiments()}
        assert states == {"sound": "running", "harmed": "failed", "queued": "failed"}
        for name in ("harmed", "queued"):
            assert second.experiments.experiment(name).reason


@pytest.mark.parametrize("cohort", ["not JSON", b"\xff\xfe", "3"])
def test_a_damaged_row_fails_its_experiment_alone_and_is_listed(tmp_path: Path, cohort: str | bytes) -> None:
    with director(tmp_path) as first:
        for name in ("sound", "harmed"):
            first.submit(name, envoys=1)
        first.connect("north")
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        query = "UPDATE open_rounds SET cohort = CAST(? AS TEXT) WHERE experiment = 'harmed'"
        connection.execute(query, (cohort,))
    connection.close()
    with director(tmp_path) as second:
        states = {row.name: row.state for row in second.experiments.experiments()}
        assert states == {"sound": "running", "harmed": "failed"}


def test_a_round_without_training_is_gone_on_from_as_well(tmp_path: Path) -> None:
    with director(tmp_path) as first:
        first.submit(envoys=1, tasks=[VALIDATE])
        first.connect("north")
        first.report("rows", "north", VALIDATE)
        assert first.experiments.experiment("rows").round == 1
    with director(tmp_path) as second:
        aggregator = second.experiments.live("rows")
        assert aggregator is not None
        assert aggregator.round_number == 1
        second.finish("rows", {"north": 1.0})
        assert second.kinds("rows").count("round_closed") == 3


def test_a_fault_of_the_machine_gives_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)

    def busy(self: BlobStore, sha256: str) -> None:
        raise OSError("too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(BlobStore, "check", busy)
        with director(tmp_path) as second:
            row = second.experiments.experiment("rows")
            assert row.state == "running"
            assert "too many open files" in row.reason
            assert len(second.journal.results("rows")) == 2
            assert second.experiments.attend() <= RETRY_SECONDS, "it is tried again, though nothing happens"
            patched.undo()
            second.finish("rows", {"north": 5.0, "south": 7.0})
            assert second.experiments.experiment("rows").state == "finished", "it goes on by itself"
            assert second.experiments.experiment("rows").reason == ""


def test_a_disk_that_is_full_when_it_goes_on_gives_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can it be written down then that there is no room."""
    begin(tmp_path)

    def no_room(journal: Journal) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "transaction", no_room)
        with director(tmp_path) as second:
            assert second.experiments.experiment("rows").state == "running"
            assert second.experiments.live("rows") is None
            patched.undo()
            model = second.finish("rows", {"north": 5.0, "south": 7.0})
    assert model == undisturbed(tmp_path / "undisturbed"), "the same bits"


def test_one_that_waits_for_the_next_start_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    monkeypatch.setattr("director.lives.replay", lambda *_: (_ for _ in ()).throw(OSError("busy")))
    with director(tmp_path) as second:
        assert second.experiments.stop("rows").state == "stopped"


def test_a_round_begins_in_the_transaction_of_what_opens_it(tmp_path: Path) -> None:
    """Each experiment has each event once, wherever its director was killed."""
    with director(tmp_path) as first:
        first.submit()
        seen: list[list[str]] = []
        committed = first.journal._connection.set_trace_callback
        committed(lambda query: seen.append(kinds_now(first)) if query == "COMMIT" else None)
        first.connect("north", "south")
        committed(None)
        assert seen[-1][-2:] == ["started", "round_started"]
        assert not [kinds for kinds in seen if kinds[-1] == "started"]
        seen.clear()
        committed(lambda query: seen.append(kinds_now(first)) if query == "COMMIT" else None)
        first.finish("rows", {"north": 1.0, "south": 2.0})
        committed(None)
        assert not [kinds for kinds in seen if kinds[-1] == "round_closed"]
        kinds = first.kinds("rows")
    assert kinds.count("round_started") == kinds.count("round_closed") == 3
    assert kinds[-2:] == ["round_closed", "finished"]


def kinds_now(alive: Director) -> list[str]:
    rows = alive.journal._connection.execute("SELECT kind FROM events ORDER BY id").fetchall()
    return [kind for (kind,) in rows]
