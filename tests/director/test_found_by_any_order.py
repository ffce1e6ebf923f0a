"""What `test_any_order` has found, each as short as it could be made."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.director.filling_disk import filling_disk
from tests.director.in_process import VALIDATE, Director, director
from tests.director.test_participation import THREE, VALUES, bodies, standing, started

OTHERWISE = {"fingerprint": "e" * 64}
FITTING = {"fingerprint": "f" * 64}


def orders(queue: SimpleQueue[Any]) -> list[str | None]:
    found = []
    while not queue.empty():
        order = queue.get()
        found.append(order.WhichOneof("order") if order is not None else None)
    return found


def resume(alive: Director) -> None:
    alive.experiments.resume("rows", {}, False, "alice")
    alive.attend()


def test_who_left_and_went_is_not_there_when_it_is_taken_back(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, envoys=2)
        alive.experiments.exclude("rows", "west", "alice")
        alive.disconnect("west", "south")
        alive.work("rows", "north")
        alive.pass_time(601.0)
        assert alive.experiments.experiment("rows").round == 1, "it waits for a second envoy"
        resume(alive)
        assert len(bodies(alive, "round_started")) == 1, "nobody but north is there"
        alive.connect("west")
        assert bodies(alive, "round_started")[1]["cohort"] == ["north", "west"]


def test_all_that_are_taken_back_at_once_take_part_in_the_round_that_begins_with_it(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, envoys=1)
        alive.disconnect("west")
        alive.pass_time(601.0)
        for name in ("north", "south"):
            alive.experiments.exclude("rows", name, "alice")
        resume(alive)
        assert bodies(alive, "round_started")[-1]["cohort"] == ["north", "south"]


def test_an_absence_does_not_go_on_from_one_that_ended_while_the_envoy_had_left(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, envoys=1)
        alive.disconnect("west")
        alive.pass_time(10.0)
        alive.experiments.exclude("rows", "west", "alice")
        alive.attend()
        alive.connect("west")
        alive.pass_time(1000.0)
        alive.disconnect("west")
        resume(alive)
        assert standing(alive)["west"] == "active", "it has only just gone"
        alive.pass_time(601.0)
        assert standing(alive)["west"] == "absent"


def test_an_absent_envoy_that_is_there_when_the_experiment_is_resumed_takes_part(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, envoys=2)
        alive.disconnect("west")
        alive.pass_time(601.0)
        alive.experiments.stop("rows")
        alive.connect("west")
        alive.disconnect("south")
        resume(alive)
        assert standing(alive)["west"] == "active"
        assert bodies(alive, "envoy_back") == [{"envoy": "west", "round": 0}]
        assert alive.work("rows", "west"), "it does not wait for ever for a second envoy"


def test_an_envoy_that_could_not_work_and_comes_anew_is_ordered_to_try(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive)
        alive.experiments.cannot_work("rows", "west", "its disk is full")
        alive.attend()
        alive.disconnect("west")
        assert "start" in orders(alive.connect_as("west"))
        assert alive.work("rows", "west") == [], "it has not said yet that it can"
        alive.experiments.works("rows", "west")
        alive.attend()
        assert alive.work("rows", "west")


def test_an_envoy_that_could_not_work_and_is_taken_back_is_ordered_to_try(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive)
        alive.experiments.cannot_work("rows", "west", "its disk is full")
        alive.experiments.exclude("rows", "west", "alice")
        alive.attend()
        assert orders(alive.connections["west"].orders)[-1] == "stop"  # type: ignore[arg-type]
        resume(alive)
        assert orders(alive.connections["west"].orders) == ["start"]  # type: ignore[arg-type]


def test_that_an_envoy_could_not_work_is_forgotten_when_the_experiment_ends(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive)
        alive.experiments.cannot_work("rows", "west", "its disk is full")
        alive.attend()
        alive.experiments.stop("rows")
        resume(alive)
        assert orders(alive.connections["west"].orders)[-1] == "start"  # type: ignore[arg-type]
        assert alive.work("rows", "west")


def test_nothing_counts_of_an_envoy_that_is_held_and_could_not_work_before(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        for name in THREE:
            alive.connect_as(name, **FITTING)
        alive.submit()
        alive.experiments.cannot_work("rows", "west", "its disk is full")
        alive.connect_as("west", **OTHERWISE)
        assert not alive.report("rows", "west", VALIDATE)
        assert "another shard" in alive.experiments.experiment("rows").reason


def test_nothing_counts_of_an_envoy_that_was_held_and_goes_until_it_is_back_as_it_was(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        for name in THREE:
            alive.connect_as(name, **FITTING)
        alive.submit()
        alive.connect_as("west", **OTHERWISE)
        alive.disconnect("west")
        assert not alive.report("rows", "west", VALIDATE)
        alive.connect_as("west", **FITTING)
        assert alive.report("rows", "west", VALIDATE)
        assert alive.finish("rows", VALUES)


def test_a_round_of_a_resumed_experiment_has_all_of_its_time_though_it_failed_on_a_full_disk(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive, filling_disk() as disk:
        started(alive, "south", envoys=1, rounds=1, round_limit=400.0)
        disk.left = 2
        live = alive.experiments.live("rows")
        assert live is not None
        live.fail("south", "no memory")
        alive.attend()
        assert alive.experiments.experiment("rows").state == "failed"
        alive.pass_time(401.0)
        resume(alive)
        assert alive.work("rows", "south", most=1) == [VALIDATE]
        assert [body.get("attempt", 0) for body in bodies(alive, "round_started")] == [0, 0]
