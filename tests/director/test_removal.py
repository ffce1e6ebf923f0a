"""What somebody removes is gone but for its name; what the retention prunes has lost its models and nothing else."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from director.record import discard_unreferenced
from director.rows import ExperimentRow
from director.states import ENDED
from federation.errors import InputError
from federation.protocol import federation_pb2 as pb
from federation.tensors import chunks, measure
from tests.deployment import TINY_PLAN
from tests.director.in_process import HASH, MODEL, TRAIN, VALIDATE, Director, announcement, director
from tests.director.test_what_sites_keep import Orders

BY_ALICE = r"was removed by alice on \d{4}-\d\d-\d\d \d\d:\d\d UTC"
BY_RETENTION = r"were pruned by this director's retention \(30 days\) on \d{4}-\d\d-\d\d \d\d:\d\d UTC"
OTHER = {"weight": np.zeros((2, 3), np.float32)}


def ended(alive: Director, name: str, state: str = "finished", days_ago: float = 0.0) -> None:
    """Bring an experiment of one envoy, north, to an end."""
    if "north" not in alive.connections:
        alive.connect("north")
    alive.submit(name, envoys=1)
    if state == "finished":
        alive.finish(name, {"north": 1.0})
    elif state == "stopped":
        alive.report(name, "north", VALIDATE)
        alive.report(name, "north", TRAIN)
        alive.experiments.stop(name)
    else:
        aggregator = alive.experiments.live(name)
        assert aggregator is not None
        aggregator.fail("north", "its GPU has gone")
    alive.journal.update_experiment(name, ended=time.time() - days_ago * 24 * 3600)
    assert alive.experiments.experiment(name).state == state


def submission(name: str, number: str) -> pb.Submission:
    """A submission; `Director.submit` numbers its own by the name."""
    sha256, size = measure(MODEL)
    plan = json.loads(json.dumps(TINY_PLAN))
    plan["task_runner"]["settings"] = {"experiment": "tabular"}
    return pb.Submission(
        name=name,
        id=f"submission-{number}",
        plan=json.dumps(plan),
        version="1.0",
        code_hash=HASH,
        blob=pb.Blob(sha256=sha256, size=size),
    )


@pytest.mark.parametrize("state", ["finished", "failed", "stopped"])
def test_of_one_that_is_removed_the_name_is_left_and_who_removed_it(tmp_path: Path, state: str) -> None:
    with director(tmp_path) as alive:
        ended(alive, "rows", state)
        row = alive.experiments.remove("rows", "alice")
        assert (row.name, row.state) == ("rows", "removed")
        assert alive.experiments.experiments() == []
        assert alive.blobs.names() == []
        assert not (tmp_path / "uploads" / "rows").exists()
        assert alive.journal.members("rows") == alive.journal.results("rows") == []
        assert (alive.kinds("rows"), alive.journal.plan("rows")) == (["removed"], "{}")
        for use in (
            alive.experiments.experiment,
            alive.experiments.with_models,
            alive.experiments.stop,
            lambda name: alive.experiments.events_after(name, 0),
            lambda name: alive.experiments.resume(name, {}, False, "bob"),
        ):
            with pytest.raises(InputError, match=f"^experiment rows {BY_ALICE}; its name stays taken$"):
                use("rows")  # type: ignore[operator]
    with director(tmp_path) as again:
        made = again.experiments.submit(submission("rows", "another"), chunks(MODEL), "workspace")
        assert (made.name, made.state) == ("rows-2", "queued")
        assert [row.name for row in again.experiments.experiments()] == ["rows-2"]
        with pytest.raises(InputError, match=BY_ALICE):
            again.experiments.experiment("rows")


def test_only_what_has_ended_can_be_removed(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.connect("north")
        alive.submit("running", envoys=1)
        alive.submit("queued", envoys=2)
        for name in ("running", "queued"):
            with pytest.raises(
                InputError, match=f"experiment {name} is {name}; end it with `fed stop {name}`"
            ):
                alive.experiments.remove(name, "alice")
            assert alive.experiments.experiment(name).state == name
        with pytest.raises(InputError, match="no experiment 'nobody' here"):
            alive.experiments.remove("nobody", "alice")


def test_an_answer_that_got_lost_is_given_again(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        ended(alive, "rows")
        alive.experiments.remove("rows", "alice")
        assert alive.experiments.remove("rows", "bob").state == "removed"
        with pytest.raises(InputError, match=BY_ALICE):
            alive.experiments.experiment("rows")


def test_its_submission_does_not_make_another(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        ended(alive, "rows")
        alive.experiments.remove("rows", "alice")
        with pytest.raises(InputError, match=BY_ALICE):
            alive.experiments.submit(submission("rows", "rows"), chunks(MODEL), "workspace")
        assert alive.experiments.experiments() == []
        assert alive.blobs.names() == []


def test_an_equal_model_of_another_experiment_stays(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        ended(alive, "one")
        ended(alive, "two")
        one, two = (alive.experiments.experiment(name) for name in ("one", "two"))
        assert (one.model, one.best_model) == (two.model, two.best_model)
        alive.experiments.remove("one", "alice")
        assert set(alive.blobs.names()) == {two.model, two.best_model}
        assert alive.blobs.open(alive.experiments.with_models("two").model)
        alive.experiments.remove("two", "alice")
        assert alive.blobs.names() == []


def test_envoys_forget_one_that_is_removed_those_that_are_away_when_they_are_back(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        ended(alive, "failed", "failed")
        orders = Orders()
        alive.experiments.connect("north", announcement(kept=["failed"]), orders)
        assert orders.seen() == []
        alive.experiments.remove("failed", "alice")
        assert orders.seen() == [("forget", "failed")]
    with director(tmp_path) as again:
        back = Orders()
        again.experiments.connect("north", announcement(kept=["failed"]), back)
        assert back.seen() == [("forget", "failed")]


def test_a_worker_that_was_away_meanwhile_is_told_to_quit_as_by_any_that_has_ended(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        ended(alive, "rows", "stopped")
        alive.experiments.remove("rows", "alice")
        assert alive.experiments.live("rows") is None


def test_who_removes_it_as_soon_as_it_has_finished_does_not_keep_its_end_from_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with director(tmp_path) as alive:
        orders = Orders()
        alive.experiments.connect("north", announcement(), orders)
        alive.submit(envoys=1)
        remover = threading.Thread(target=alive.experiments.remove, args=("rows", "alice"))
        notify = alive.experiments.news.ring

        def watch() -> None:
            notify()
            if alive.kinds("rows")[-1:] == ["finished"] and remover.ident is None:
                remover.start()
                remover.join(0.5)  # as much as it can do now

        monkeypatch.setattr(alive.experiments.news, "ring", watch)
        while alive.experiments.live("rows") is not None:
            alive.work("rows", "north")
        remover.join(60)
        assert alive.experiments.experiments() == []
        seen = orders.seen()
        assert seen[:3] == [("start", "rows"), ("stop", "rows"), ("forget", "rows")]
        assert set(seen[3:]) <= {("forget", "rows")}


class Killed(BaseException):
    """The director is killed; nothing of it is done any more."""


class Kill:
    """Kills a director before its n-th statement or removal of a blob; counts on after that: nothing is done any more."""

    def __init__(self, alive: Director, step: int) -> None:
        self._left = step
        self._connection: Any = alive.journal._connection
        self._remove = alive.blobs.remove
        alive.journal._connection = self  # type: ignore[assignment]
        alive.blobs.remove = self.remove  # type: ignore[method-assign]

    @property
    def struck(self) -> bool:
        return self._left < 0

    def execute(self, *arguments: Any) -> Any:
        self._step()
        return self._connection.execute(*arguments)

    def remove(self, sha256: str) -> None:
        self._step()
        self._remove(sha256)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def _step(self) -> None:
        self._left -= 1
        if self.struck:
            raise Killed


def kills(before: Path, folder: Path, retention_days: float | None = None) -> Iterator[tuple[Director, Kill]]:
    """Live lives over copies of a state folder, each killed one step later, until one is not killed any more."""
    for step in count():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder)
        with director(folder, retention_days) as alive:
            kill = Kill(alive, step)
            yield alive, kill
        if not kill.struck:
            assert step > 5, "it was killed in between"
            return


def test_killed_at_any_step_it_is_removed_or_it_is_not(tmp_path: Path) -> None:
    with director(tmp_path / "before") as first:
        ended(first, "rows", "stopped")
        before, kinds = first.experiments.experiment("rows"), first.kinds("rows")
    came_out = set()
    for alive, kill in kills(tmp_path / "before", tmp_path / "after"):
        try:
            alive.experiments.remove("rows", "alice")
        except Killed:
            assert kill.struck
        alive.journal.close()
        with director(tmp_path / "after") as again:
            came_out.add(removed := again.experiments.experiments() == [])
            if not removed:
                assert (again.experiments.with_models("rows"), again.kinds("rows")) == (before, kinds)
                assert again.blobs.open(before.model)
                again.experiments.remove("rows", "bob")
            assert again.kinds("rows") == ["removed"]
            assert again.blobs.names() == []
    assert came_out == {False, True}


def test_by_default_all_is_kept(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        ended(alive, "rows", days_ago=10_000)
        alive.pass_time(10_000 * 24 * 3600.0)
        assert alive.blobs.open(alive.experiments.with_models("rows").model)


def test_the_retention_prunes_the_models_of_what_has_ended_long_ago_and_nothing_else(tmp_path: Path) -> None:
    with director(tmp_path) as first:
        for state in ("finished", "failed", "stopped"):
            ended(first, state, state, days_ago=31)
            ended(first, f"late-{state}", state, days_ago=29)
        first.submit("queued", OTHER, envoys=2)
        kinds = {row.name: first.kinds(row.name) for row in first.experiments.experiments()}
    with director(tmp_path, retention_days=30) as alive:
        alive.attend()
        for name in ("finished", "failed", "stopped"):
            assert alive.experiments.experiment(name).state == name
            assert alive.kinds(name) == [*kinds[name], "pruned"]
            assert alive.events(name)[-1].body == {"by": "this director's retention (30 days)"}
            with pytest.raises(InputError, match=f"^the models of experiment {name} {BY_RETENTION}; submit"):
                alive.experiments.with_models(name)
        kept = ["late-failed", "late-finished", "late-stopped", "queued"]
        for name in kept:
            row = alive.experiments.with_models(name)
            assert alive.blobs.open(row.model)
            assert "pruned" not in alive.kinds(name)
        assert set(alive.blobs.names()) == {
            blob
            for row in map(alive.experiments.experiment, kept)
            for blob in (row.model, row.best_model)
            if blob
        }


def test_what_runs_is_looked_through_once_a_day(tmp_path: Path) -> None:
    with director(tmp_path, retention_days=30) as alive:
        ended(alive, "rows")
        assert 0 < alive.experiments.attend() <= 24 * 3600
        alive.journal.update_experiment("rows", ended=time.time() - 31 * 24 * 3600)
        alive.pass_time(23 * 3600)
        assert alive.experiments.with_models("rows")
        assert alive.experiments.attend() == 3600
        alive.pass_time(3601)
        assert alive.experiments.experiment("rows").model == ""


def test_a_pruned_one_is_not_resumed_and_sites_keep_nothing_of_it(tmp_path: Path) -> None:
    with director(tmp_path) as first:
        ended(first, "rows", "stopped", days_ago=31)
    with director(tmp_path, retention_days=30) as alive:
        orders = Orders()
        alive.experiments.connect("north", announcement(kept=["rows"]), orders)
        alive.attend()
        assert orders.seen() == [("forget", "rows")]
        with pytest.raises(InputError, match=BY_RETENTION):
            alive.experiments.resume("rows", {}, False, "alice")
        assert alive.experiments.experiment("rows").state == "stopped"
        back = Orders()
        alive.experiments.connect("north", announcement(kept=["rows"]), back)
        assert back.seen() == [("forget", "rows")]
        alive.experiments.remove("rows", "alice")
        with pytest.raises(InputError, match=BY_ALICE):
            alive.experiments.experiment("rows")


def test_one_that_is_resumed_is_not_old(tmp_path: Path) -> None:
    with director(tmp_path) as first:
        ended(first, "rows", "stopped", days_ago=31)
        first.disconnect("north")
        first.experiments.resume("rows", {}, False, "alice")
    with director(tmp_path, retention_days=30) as alive:
        alive.connect("north")
        alive.finish("rows", {"north": 1.0})
        alive.pass_time(2 * 24 * 3600.0)
        assert alive.blobs.open(alive.experiments.with_models("rows").model)


def test_one_that_is_resumed_while_the_old_are_looked_for_keeps_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with director(tmp_path) as first:
        ended(first, "rows", "stopped", days_ago=31)
    with director(tmp_path, retention_days=30) as alive:
        found = alive.journal.experiments

        def resumed_in_this_moment(*states: str) -> list[ExperimentRow]:
            rows = found(*states)
            if states == ENDED and rows:
                alive.experiments.resume("rows", {}, False, "alice")
            return rows

        monkeypatch.setattr(alive.journal, "experiments", resumed_in_this_moment)
        alive.attend()
        row = alive.experiments.experiment("rows")
        assert row.state == "queued"
        assert alive.blobs.open(row.model)


def test_killed_at_any_step_models_are_pruned_with_the_event_that_says_so(tmp_path: Path) -> None:
    with director(tmp_path / "before") as first:
        ended(first, "rows", days_ago=31)
        before, kinds = first.experiments.experiment("rows"), first.kinds("rows")
    came_out = set()
    for alive, kill in kills(tmp_path / "before", tmp_path / "after", retention_days=30):
        try:
            alive.experiments.attend()
        except Killed:
            assert kill.struck
        alive.journal.close()
        with director(tmp_path / "after") as again:
            row = again.experiments.experiment("rows")
            came_out.add(pruned := row.model == "")
            if not pruned:
                assert (row, again.kinds("rows")) == (before, kinds)
                assert again.blobs.open(row.model)
                assert again.blobs.open(row.best_model)
        with director(tmp_path / "after", retention_days=30) as late:
            late.attend()
            assert late.kinds("rows") == [*kinds, "pruned"]
            assert late.blobs.names() == []
    assert came_out == {False, True}


def test_a_blob_that_cannot_be_removed_does_not_bring_back_what_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with director(tmp_path) as alive:
        ended(alive, "rows")

        def refused(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        with monkeypatch.context() as patched:
            patched.setattr(alive.blobs, "remove", refused)
            assert alive.experiments.remove("rows", "alice").state == "removed"
        assert alive.blobs.names() != []
        discard_unreferenced(alive.journal, alive.blobs, alive.blobs.names())
        assert alive.blobs.names() == []


def test_taking_all_in_again_is_as_before(tmp_path: Path) -> None:
    """Its blobs are gone by name: the same bytes may come again."""
    with director(tmp_path) as alive:
        ended(alive, "rows")
        alive.experiments.remove("rows", "alice")
        ended(alive, "again")
        assert alive.blobs.open(alive.experiments.with_models("again").model)
