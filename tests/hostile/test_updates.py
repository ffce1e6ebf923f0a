"""A member sends updates and sums that are well formed and lie: they do not reach the model, and do not choose the best one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from openfl.interface.aggregation_functions import WeightedAverage

from federation.engine.build import build_aggregator
from federation.engine.results import TaskOutput
from federation.errors import DIVERGED, InputError, Refused
from federation.plan import plan_from_json
from tests.director.in_process import MODEL, TRAIN, VALIDATE, Director, director, statistics
from tests.director.known_work import Kept
from tests.director.test_participation import bodies, standing, started
from workspace.simulation.cohorts import read_cohorts

FOUR = ("east", "north", "south", "west")


def overflowing(self: Any, tensors: Sequence[Any], *others: Any) -> Any:
    """An aggregation function that adds."""
    with np.errstate(over="ignore"):
        return sum(tensor.tensor for tensor in tensors)


def value_of(alive: Director) -> float:
    """The newest model, of which all elements are alike."""
    model = alive.blobs.open(alive.experiments.experiment("rows").model)["weight"]
    assert np.ptp(model) < 1e-6
    return float(model[0, 0])


def run_round(alive: Director, **values: float) -> None:
    for name, value in values.items():
        assert alive.work("rows", name, value)


def test_who_says_a_million_times_what_it_announced_is_refused(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, "north", "south")
        many = {"samples": np.asarray(10**8), "confusion": statistics()["confusion"] * 10**7}
        live = alive.experiments.live("rows")
        assert live is not None
        for task, tensors in ((VALIDATE, {}), (TRAIN, {"weight": MODEL["weight"] + 1})):
            lie = TaskOutput(tensors, statistics() | many, alive.blobs.put(tensors) if tensors else None)
            with pytest.raises(
                Refused, match=r"100000000 samples are said, where what was announced makes at most 10"
            ):
                live.send_local_task_results("south", 0, task, 10**8, lie)
        assert not alive.journal.results("rows")


def test_an_update_weighs_what_its_site_announced_whatever_it_says_that_it_has_used(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.connect_as("north", samples={"train": 30, "validation": 10})
        alive.connect_as("south", samples={"train": 10, "validation": 10})
        alive.submit(envoys=2)
        run_round(alive, north=1.0, south=3.0)
        assert value_of(alive) == pytest.approx(0.75 * 1.0 + 0.25 * 3.0), "both have said 10"
        assert bodies(alive, "envoy_dominates") == [{"round": 0, "envoy": "north", "share": 0.75}]


def test_who_announces_nothing_has_nothing_to_send(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.connect_as("north", samples={})
        alive.submit(envoys=1)
        with pytest.raises(Refused, match="announced makes at most 0"):
            alive.work("rows", "north")


def test_more_samples_are_taken_where_the_plan_sees_each_of_them_more_often(tmp_path: Path) -> None:
    many = statistics()
    many = {"samples": many["samples"] * 6, "confusion": many["confusion"] * 6, "loss_sum": many["loss_sum"]}
    with director(tmp_path) as alive:
        alive.connect("north", "south")
        alive.submit(envoys=2, federation={"enlargement": 2.0}, epochs=3)
        live = alive.experiments.live("rows")
        assert live is not None
        alive.work("rows", "south", most=1)
        update = {"weight": MODEL["weight"] + 1}
        assert live.send_local_task_results(
            "south", 0, TRAIN, 60, TaskOutput(update, many, alive.blobs.put(update))
        )


def test_no_share_is_larger_than_the_plan_allows(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.connect_as("north", samples={"train": 10**6, "validation": 10})
        alive.connect("south", "west")
        alive.submit(envoys=3, federation={"max_share": 0.4})
        run_round(alive, north=10.0, south=0.0, west=0.0)
        assert value_of(alive) == pytest.approx(4.0)


def test_an_update_far_beyond_the_others_is_left_out_with_its_sums_and_its_envoy_stays(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive:
        started(alive, *FOUR, envoys=3)
        run_round(alive, east=2.0, north=2.0, west=1e9, south=2.0)
        assert value_of(alive) == pytest.approx(2.0)
        (closed,) = bodies(alive, "round_closed")
        assert (closed["cohort"], closed["left_out"]) == (list(FOUR), ["west"])
        (told,) = bodies(alive, "update_left_out")
        assert told["envoy"] == "west"
        assert told["norm"] > told["bound"] == pytest.approx(1000 * np.sqrt(MODEL["weight"].size))
        assert set(standing(alive).values()) == {"active"}
        counted = {member.name: member.counted for member in alive.journal.members("rows")}
        assert counted == {"east": 0, "north": 0, "south": 0, "west": None}
        run_round(alive, east=2.0, north=2.0, west=2.0, south=2.0)
        assert "left_out" not in bodies(alive, "round_closed")[1], "it counts again when it is sound again"


def test_a_left_out_validation_does_not_choose_the_best_model(tmp_path: Path) -> None:
    right = statistics()
    right["confusion"] = np.zeros_like(right["confusion"])
    right["confusion"][0, 0] = 10
    with director(tmp_path) as alive:
        started(alive, *FOUR, envoys=3)
        for task in (VALIDATE, TRAIN, "locally_tuned_model_validation"):
            alive.report("rows", "west", task, 1e9, **(right if task == VALIDATE else {}))
        run_round(alive, east=2.0, north=2.0, south=2.0)
        (closed,) = bodies(alive, "round_closed")
        assert closed["metrics"][VALIDATE]["accuracy"] == 0.5


def test_what_a_plan_clips_is_scaled_down_to_the_bound_instead(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, *FOUR, envoys=3, clip=10.0)
        run_round(alive, east=2.0, north=2.0, west=1e9, south=2.0)
        # Three have moved by 1 each element, and the fourth by ten times the median of that.
        assert value_of(alive) == pytest.approx(1.0 + (1 + 1 + 1 + 10) / 4, rel=1e-5)
        assert bodies(alive, "update_clipped")[0]["envoy"] == "west"
        assert "left_out" not in bodies(alive, "round_closed")[0]


def test_where_every_update_is_left_out_the_model_stays_as_it_was(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, "north", "south", rounds=2)
        run_round(alive, north=1e9, south=-1e9)
        assert value_of(alive) == 1.0
        assert [body["round"] for body in bodies(alive, "nobody_counted")] == [0]
        run_round(alive, north=3.0, south=3.0)
        assert value_of(alive) == 3.0


def test_an_aggregate_that_is_not_finite_never_becomes_the_model(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, *FOUR, envoys=3)
        # Each is finite, and none is far from the others: their sum alone is too large for the model's dtype.
        huge = float(np.finfo(np.float32).max)
        run_round(alive, east=huge, north=huge, south=huge)
        before = alive.experiments.experiment("rows").model
        with mock.patch.object(WeightedAverage, "call", overflowing):
            run_round(alive, west=huge)
        row = alive.experiments.experiment("rows")
        assert (row.state, row.model, row.round) == ("failed", before, 0)
        assert "the aggregate of tensor 'weight' in round 0 is not usable" in row.reason
        alive.experiments.resume("rows", {}, False, "workspace")
        alive.attend()
        run_round(alive, east=2.0, north=2.0, south=2.0, west=2.0)
        assert value_of(alive) == 2.0


@pytest.mark.parametrize("settings", [{}, {"clip": 3.0}, {"max_share": 0.3}])
def test_a_simulation_of_the_run_leaves_out_the_same_and_has_its_bits(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    values = {"east": 2.0, "north": 2.5, "south": 1.5, "west": 1e9}
    announced = {name: {"train": 10 + len(name), "validation": 10} for name in FOUR}
    with director(tmp_path) as alive:
        for name in FOUR:
            alive.connect_as(name, samples=announced[name])
        alive.submit(envoys=3, federation=settings)
        model = alive.finish("rows", values)
        plan = plan_from_json(alive.journal.plan("rows"), "rows", "opaque")
        path = tmp_path / "events.jsonl"
        path.write_text(
            "".join(json.dumps({"kind": e.kind, "body": dict(e.body)}) + "\n" for e in alive.events("rows"))
        )
        record = Kept()
        planned = read_cohorts(path, FOUR, 2)
        simulated = build_aggregator(plan, FOUR, MODEL, record, planned=planned, samples=announced)
        simulated.go_on()
        while not simulated.finished:
            for name, value in values.items():
                for task in simulated.get_tasks(name)[0] or []:
                    trained = {"weight": np.full_like(MODEL["weight"], value + simulated.round_number)}
                    output = TaskOutput(trained if task == TRAIN else {}, statistics())
                    simulated.send_local_task_results(name, simulated.round_number, task, 10, output)
        closed = [(c.round_number, list(c.left_out)) for c in record.closed]
        assert closed == [(b["round"], b.get("left_out", [])) for b in bodies(alive, "round_closed")]
        last = [c.model for c in record.closed if c.model is not None][-1]
        assert last["weight"].tobytes() == alive.blobs.open(model)["weight"].tobytes()


def test_a_restart_judges_by_the_norms_that_were_written_down(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, *FOUR, envoys=3)
        run_round(alive, east=2.0, west=1e9)
        norms = {row.envoy: row.norm for row in alive.journal.results("rows") if row.task == TRAIN}
        assert norms == {
            "east": pytest.approx(np.sqrt(6)),
            "west": pytest.approx(1e9 * np.sqrt(6), rel=1e-5),
        }
        assert {row.norm for row in alive.journal.results("rows") if row.task != TRAIN} == {None}
        told = [body for body in bodies(alive, "result") if body["task"] == TRAIN]
        assert {body["envoy"]: body["metrics"]["update_norm"] for body in told} == norms
    with director(tmp_path) as again:
        again.connect(*FOUR)
        run_round(again, north=2.0, south=2.0)
        assert bodies(again, "round_closed")[0]["left_out"] == ["west"]
        assert value_of(again) == pytest.approx(2.0)


# Whose loss is not finite.


def diverge(alive: Director, names: Sequence[str]) -> None:
    for name in names:
        live = alive.experiments.live("rows")
        if live is not None:
            live.fail(name, "the loss became nan", "", DIVERGED)


def test_the_honest_one_that_says_first_that_its_loss_is_nan_is_not_expelled_if_the_others_say_so_too(
    tmp_path: Path,
) -> None:
    with director(tmp_path) as alive:
        started(alive, *FOUR, envoys=2)
        run_round(alive, west=1.0)
        diverge(alive, ["north"])
        assert standing(alive)["north"] == "active", "it is judged when the rest have reported"
        assert alive.work("rows", "north") == []
        diverge(alive, ["east", "south"])
        row = alive.experiments.experiment("rows")
        assert row.state == "failed"
        assert row.reason == "diverged: at 3 of 4 envoys (east, north, south): the loss became nan"
        assert set(standing(alive).values()) == {"active"}, "nobody is blamed"
        assert [body["envoy"] for body in bodies(alive, "envoy_diverged")] == ["north", "east", "south"]


def test_one_that_diverges_alone_has_failed_once_the_others_have_reported(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, *FOUR, envoys=2)
        alive.work("rows", "north", most=1)
        diverge(alive, ["north"])
        run_round(alive, east=2.0, south=2.0)
        assert standing(alive)["north"] == "active"
        run_round(alive, west=2.0)
        assert standing(alive) == {name: "failed" if name == "north" else "active" for name in FOUR}
        assert bodies(alive, "envoy_failed")[0]["reason"] == "the loss became nan"
        (closed,) = bodies(alive, "round_closed")
        assert closed["cohort"] == ["east", "south", "west"]
        assert value_of(alive) == 2.0


def test_a_restart_between_asks_the_one_that_diverged_again(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        started(alive, *FOUR, envoys=2)
        diverge(alive, ["north"])
    with director(tmp_path) as again:
        again.connect(*FOUR)
        assert VALIDATE in (again.experiments.live("rows").get_tasks("north")[0] or [])  # type: ignore[union-attr]
        run_round(again, east=2.0, south=2.0, west=2.0)
        diverge(again, ["north"])
        assert standing(again)["north"] == "failed"
        assert again.experiments.experiment("rows").round == 1


def test_a_model_that_can_never_pass_is_no_input(tmp_path: Path) -> None:
    large = {"weight": np.ones((600, 600), np.float32)}
    with director(tmp_path) as alive:
        with pytest.raises(InputError, match=r"a model of \d+ bytes; this director takes up to 1048576"):
            alive.submit(model=large)
        assert alive.experiments.experiments() == []
        assert alive.blobs.names() == []
