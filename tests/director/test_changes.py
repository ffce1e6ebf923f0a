"""What the owner of an experiment changes of it: rounds and limits, the code that it goes on with, who takes part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from director.experiments import Experiments
from federation.amendments import CHANGEABLE
from federation.errors import InputError, Refused
from tests.director.in_process import HASH, TUNED, announcement, director
from tests.director.test_participation import THREE, VALUES, bodies, standing, started
from tests.director.test_removal import Killed, kills

OLD, NEW, THIRD = ({"code_hashes": {"tabular": letter * 64}} for letter in "cde")
CHANGES = {
    "aggregator.settings.rounds_to_train": 5,
    "federation.settings.grace": 60.0,
    "federation.settings.patience": 3,
    "federation.settings.round_limit": 50.0,
    "straggler_handling_policy.settings.straggler_cutoff_time": 40.0,
}


def last_order(orders: SimpleQueue[Any]) -> Any:
    order = None
    while not orders.empty():
        order = orders.get()
    return order


@pytest.mark.parametrize("key", CHANGEABLE)
def test_each_limit_that_a_resume_may_change_is_in_the_plan_that_sites_are_ordered(
    tmp_path: Path, key: str
) -> None:
    with director(tmp_path) as alive:
        orders = alive.connect_as("north")
        alive.submit(envoys=1, cutoff=30.0)
        before = json.loads(last_order(orders).start.plan)
        assert alive.experiments.stop("rows").ended > 0
        resumed = alive.experiments.resume("rows", {key: json.dumps(CHANGES[key])}, False, "alice")
        assert (resumed.ended, resumed.reason) == (0.0, "")
        alive.attend()
        after = json.loads(last_order(orders).start.plan)
    section, _, name = key.split(".")
    assert after[section]["settings"].pop(name) == CHANGES[key]
    before[section]["settings"].pop(name, None)
    assert after == before, "nothing else has changed"


def test_there_is_a_change_to_be_tried_for_each_limit() -> None:
    assert set(CHANGES) == set(CHANGEABLE)


def test_a_new_grace_and_a_new_limit_of_a_round_hold_from_the_resume_on(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.connect("north", "south", "west")
        alive.submit(envoys=1)
        alive.experiments.stop("rows")
        settings = {"federation.settings.grace": "60.0", "federation.settings.round_limit": "200.0"}
        alive.experiments.resume("rows", settings, False, "alice")
        alive.disconnect("west")
        alive.work("rows", "north")
        alive.pass_time(61.0)
        assert [e.body["envoy"] for e in alive.events("rows") if e.kind == "envoy_absent"] == ["west"]
        assert alive.experiments.experiment("rows").round == 0
        alive.pass_time(140.0)
        assert [e.body["envoys"] for e in alive.events("rows") if e.kind == "stragglers"] == [["south"]]
        assert alive.experiments.experiment("rows").round == 1


def test_only_the_envoys_that_an_experiment_has_are_asked_for_the_code_that_they_share(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive:
        alive.connect("north", "south")
        alive.submit()
        for name in ("north", "south"):
            alive.connect_as(name, **NEW)
        alive.connect_as("west", **THIRD)
        assert alive.experiments.resume("rows", {}, True, "alice").code_hash == "d" * 64


def test_who_is_kept_by_more_than_its_code_is_not_asked(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.connect("north", "south", "west")
        alive.submit()
        for name in ("north", "south"):
            alive.connect_as(name, **NEW)
        alive.connect_as("west", dataset="another", **THIRD)
        assert alive.experiments.resume("rows", {}, True, "alice").code_hash == "d" * 64


def test_one_that_has_not_begun_takes_the_code_of_those_that_are_there(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        for name in ("north", "south"):
            alive.connect_as(name, **NEW)
        alive.submit()
        assert alive.experiments.experiment("rows").state == "queued"
        row = alive.experiments.resume("rows", {}, True, "alice")
        assert (row.state, row.code_hash) == ("running", "d" * 64)


def test_code_that_keeps_nobody_is_not_taken(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.connect("north", "south")
        alive.submit()
        with pytest.raises(InputError, match="no envoy is kept from the experiment rows by its code alone"):
            alive.experiments.resume("rows", {}, True, "alice")
        assert "code_accepted" not in alive.kinds("rows")


def test_nobody_is_excluded_from_what_does_not_run(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.submit()
        for _ in range(2):
            with pytest.raises(InputError, match="experiment rows does not run: there is nobody to exclude"):
                alive.experiments.exclude("rows", "north", "alice")
            alive.experiments.stop("rows")


def test_who_is_excluded_is_told_to_stop_and_the_round_waits_for_it_no_more(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.connect("north", "south")
        orders = alive.connect_as("west")
        alive.submit()
        for name in ("north", "south"):
            alive.work("rows", name)
        assert alive.experiments.experiment("rows").round == 0
        alive.experiments.attention.clear()
        alive.experiments.exclude("rows", "west", "alice")
        assert alive.experiments.attention.is_set()
        alive.attend()
        assert last_order(orders).stop == "rows"
        assert alive.experiments.experiment("rows").round == 1


def test_who_was_excluded_stays_so_over_a_restart_and_a_resume_of_what_was_stopped_takes_it_back(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive:
        alive.connect("north", "south", "west")
        alive.submit()
        alive.experiments.exclude("rows", "west", "alice")
    with director(tmp_path) as alive:
        alive.connect("north", "south", "west")
        assert alive.work("rows", "west") == []
        alive.experiments.stop("rows")
        alive.experiments.resume("rows", {}, False, "alice")
        assert {m.name: (m.standing, m.reason) for m in alive.journal.members("rows")}["west"] == (
            "active",
            "",
        )
        assert alive.work("rows", "west") != []


def stop(experiments: Experiments) -> None:
    experiments.stop("rows")


def resume(experiments: Experiments) -> None:
    experiments.resume("rows", {"aggregator.settings.rounds_to_train": "5"}, False, "alice")


def accept_code(experiments: Experiments) -> None:
    experiments.connect("north", announcement(**NEW), SimpleQueue())
    experiments.resume("rows", {}, True, "alice")


@pytest.mark.parametrize(
    ("act", "kind", "changes"),
    [
        (stop, "stopped", {"state": "stopped"}),
        (resume, "resumed", {"state": "queued", "rounds": 5}),
        (accept_code, "code_accepted", {"code_hash": "d" * 64}),
    ],
)
def test_killed_at_any_step_it_is_done_with_the_event_that_says_so_or_it_is_not(
    tmp_path: Path, act: Callable[[Experiments], None], kind: str, changes: dict[str, Any]
) -> None:
    with director(tmp_path / "before") as first:
        first.submit()
        if act is resume:
            first.experiments.stop("rows")
        before, plan = first.experiments.experiment("rows"), first.journal.plan("rows")
    came_out = set()
    for alive, kill in kills(tmp_path / "before", tmp_path / "after"):
        try:
            act(alive.experiments)
        except Killed:
            assert kill.struck
        alive.journal.close()
        with director(tmp_path / "after") as again:
            row = again.experiments.experiment("rows")
            came_out.add(done := kind in again.kinds("rows"))
            for column, value in changes.items():
                assert getattr(row, column) == (value if done else getattr(before, column))
            assert (again.journal.plan("rows") == plan) == (row.rounds == before.rounds)
    assert came_out == {False, True}


def test_killed_at_any_step_an_envoy_is_out_with_its_results_and_the_event_that_says_so_or_it_is_not(
    tmp_path: Path,
) -> None:
    with director(tmp_path / "before") as first:
        first.submit()
        first.connect("north", "south")
        first.work("rows", "north", most=2)
    came_out = set()
    for alive, kill in kills(tmp_path / "before", tmp_path / "after"):
        try:
            alive.experiments.exclude("rows", "north", "alice")
        except Killed:
            assert kill.struck
        alive.journal.close()
        with director(tmp_path / "after") as again:
            came_out.add(done := "envoy_excluded" in again.kinds("rows"))
            standing = {member.name: member.standing for member in again.journal.members("rows")}
            assert standing["north"] == ("excluded" if done else "active")
            assert len(again.journal.results("rows")) == (0 if done else 2)
    assert came_out == {False, True}


def test_an_envoy_can_be_excluded_and_taken_back(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive)
        alive.work("rows", "west", most=2)
        alive.experiments.exclude("rows", "west", "alice")
        alive.attend()
        assert bodies(alive, "envoy_excluded") == [
            {"envoy": "west", "round": 0, "reason": "alice asked for it"}
        ]
        with pytest.raises(Refused):
            alive.report("rows", "west", TUNED)
        for name in ("north", "south"):
            alive.work("rows", name)
        assert alive.experiments.experiment("rows").round == 1
        alive.experiments.resume("rows", {}, False, "alice")
        assert bodies(alive, "envoy_taken_back") == [{"envoy": "west", "round": 1}]
        assert alive.work("rows", "west") == [], "from the next round"
        for name in ("north", "south"):
            alive.work("rows", name)
        assert bodies(alive, "round_started")[-1]["cohort"] == list(THREE)
        with pytest.raises(
            InputError, match=r"'east' takes no part in experiment rows; north, south, west do"
        ):
            alive.experiments.exclude("rows", "east", "alice")


def test_the_owner_takes_the_code_that_the_envoys_share(tmp_path: Path) -> None:
    new = {"code_hashes": {"tabular": "d" * 64}}
    with director(tmp_path) as alive:
        started(alive, "north", "south")
        alive.disconnect("north", "south")
        alive.connect_as("north", **new)
        alive.connect_as("south", code_hashes={"tabular": "e" * 64})
        with pytest.raises(InputError, match="north dddddddddddd, south eeeeeeeeeeee"):
            alive.experiments.resume("rows", {}, True, "alice")
        orders = alive.connect_as("south", **new)
        assert "other code" in alive.experiments.experiment("rows").reason
        alive.experiments.resume("rows", {}, True, "alice")
        alive.attend()
        assert bodies(alive, "code_accepted") == [{"by": "alice", "code_hash": "d" * 64, "before": HASH}]
        assert alive.experiments.experiment("rows").reason == ""
        assert orders.get(timeout=5).HasField("connected")
        assert orders.get(timeout=5).start.code_hash == "d" * 64
        with pytest.raises(InputError, match="no envoy is kept"):
            alive.experiments.resume("rows", {}, True, "alice")


@pytest.mark.parametrize("end", ["stopped", "failed"])
def test_a_stopped_or_failed_experiment_is_resumed_from_its_last_closed_round(
    tmp_path: Path, end: str
) -> None:
    with director(tmp_path / "undisturbed") as alive:
        started(alive)
        expected = alive.finish("rows", VALUES)
    with director(tmp_path / "ended") as alive:
        started(alive)
        for name in THREE:
            alive.work("rows", name, VALUES[name])
        alive.work("rows", "north", most=2)
        live = alive.experiments.live("rows")
        assert live is not None
        if end == "stopped":
            alive.experiments.stop("rows")
        else:
            for name in THREE:
                live.fail(name, "no disk")
        assert alive.experiments.experiment("rows").state == end
    with director(tmp_path / "ended") as alive:
        assert alive.experiments.resume("rows", {}, False, "alice").state == "queued"
        alive.connect(*THREE)
        assert bodies(alive, "resumed") == [{"by": "alice", "round": 1, "settings": {}}]
        assert alive.experiments.experiment("rows").state == "running"
        assert alive.finish("rows", VALUES) == expected, "the same bits"
        assert alive.experiments.experiment("rows").state == "finished"
        assert [body["round"] for body in bodies(alive, "round_closed")] == [0, 1, 2]
        with pytest.raises(InputError, match="has finished"):
            alive.experiments.resume("rows", {}, False, "alice")


def test_who_was_absent_takes_part_at_once_when_it_is_there_at_a_resume(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive)
        alive.disconnect("west")
        alive.pass_time(601.0)
        alive.experiments.stop("rows")
        alive.connect("west")
        alive.experiments.resume("rows", {}, False, "alice")
        assert standing(alive)["west"] == "active"
        assert bodies(alive, "round_started")[-1]["cohort"] == list(THREE)


def test_a_resume_may_change_rounds_and_limits_and_nothing_else(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, rounds=3)
        for name in THREE:
            alive.work("rows", name)
        rounds = "aggregator.settings.rounds_to_train"
        with pytest.raises(InputError, match="stop it first"):
            alive.experiments.resume("rows", {rounds: "4"}, False, "alice")
        alive.experiments.stop("rows")
        for key, value, said in (
            ("federation.settings.seed", "3", "only aggregator"),
            (rounds, "1", "more than the 1 rounds"),
            (rounds, "many", "no value in JSON"),
            (rounds, "-4", "rounds_to_train"),
            ("federation.settings.grace", "0", "grace"),
        ):
            with pytest.raises(InputError, match=said):
                alive.experiments.resume("rows", {key: value}, False, "alice")
        assert alive.experiments.experiment("rows").state == "stopped", "nothing has changed"
        alive.experiments.resume("rows", {rounds: "2", "federation.settings.grace": "60.0"}, False, "alice")
        assert alive.experiments.experiment("rows").rounds == 2
        alive.finish("rows", VALUES)
        assert [body["round"] for body in bodies(alive, "round_closed")] == [0, 1, 2]
        assert bodies(alive, "resumed")[0]["settings"] == {rounds: "2", "federation.settings.grace": "60.0"}
