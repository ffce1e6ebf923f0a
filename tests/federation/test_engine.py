"""The engine: what an aggregator takes, what it refuses, and when a round turns."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federation.engine.aggregator import Aggregator
from federation.engine.assigner import CohortAssigner
from federation.engine.build import build_aggregator
from federation.engine.client import StaleRound
from federation.engine.results import ClosedRound, OpenedRound, Standing, TaskOutput, TaskResult
from federation.errors import InputError, Refused
from federation.plan import CheckedPlan, load_plan
from federation.tensors import Tensors
from tests.deployment import write_yaml

VALIDATE, TRAIN, TUNED = "aggregated_model_validation", "train", "locally_tuned_model_validation"
MODEL = {"a": np.ones((2, 3), np.float32), "b": np.ones((), np.float32)}


class Notes:
    """A record that keeps all in memory."""

    def __init__(self) -> None:
        self.results: list[TaskResult] = []
        self.closed: list[ClosedRound] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.opened: list[OpenedRound] = []
        self.changes: list[Standing] = []

    def result(self, result: TaskResult) -> None:
        self.results.append(result)

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        self.closed.append(closed)
        return closed.model

    def event(self, kind: str, **body: Any) -> None:
        self.events.append((kind, body))

    def open_round(self, opened: OpenedRound) -> None:
        self.opened.append(opened)

    def standing(self, change: Standing) -> None:
        self.changes.append(change)

    def end(self, state: str, reason: str) -> None:
        self.events.append((state, {"reason": reason}))


def output(value: float | None = None, samples: int = 10, right: int = 5) -> TaskOutput:
    """A result over two classes: trained tensors (or none), and its sums."""
    confusion = np.array([[right, samples - right], [0, 0]], np.int64)
    tensors = {} if value is None else {k: np.full_like(v, value) for k, v in MODEL.items()}
    sums = {
        "confusion": confusion,
        "loss_sum": np.asarray(float(samples)),
        "samples": np.asarray(samples, np.int64),
    }
    return TaskOutput(tensors, sums)


@pytest.fixture
def plan(tmp_path: Path, tiny_plan: dict[str, Any]) -> CheckedPlan:
    tiny_plan["federation"]["settings"]["classes"] = ["yes", "no"]
    return load_plan(write_yaml(tmp_path / "plan.yaml", tiny_plan))


def opened(plan: CheckedPlan, cohort: tuple[str, ...] = ("north", "south")) -> tuple[Aggregator, Notes]:
    notes = Notes()
    aggregator = build_aggregator(plan, cohort, MODEL, notes)
    aggregator.go_on()
    return aggregator, notes


def run_round(aggregator: Aggregator, values: dict[str, float], right: int = 5) -> None:
    number = aggregator.round_number
    for name, value in values.items():
        for task in aggregator.get_tasks(name)[0] or []:
            done = output(value if task == TRAIN else None, right=right)
            aggregator.send_local_task_results(name, number, task, 10, done)


def test_rounds_turn_when_all_have_reported_and_the_last_aggregate_is_validated(plan: CheckedPlan) -> None:
    aggregator, notes = opened(plan)
    assert aggregator.get_tasks("north") == ([VALIDATE, TRAIN, TUNED], 0, 0, False)
    run_round(aggregator, {"north": 1.0, "south": 3.0})
    assert aggregator.round_number == 1
    assert aggregator.get_model(1)["a"].tolist() == [[2.0] * 3] * 2
    run_round(aggregator, {"north": 5.0, "south": 7.0})
    assert aggregator.get_tasks("north") == ([VALIDATE], 2, 0, False), (
        "only the validation of the last aggregate is left"
    )
    run_round(aggregator, {"north": 0.0, "south": 0.0})
    assert aggregator.finished
    assert aggregator.get_tasks("north")[3], "time to quit"
    assert [closed.last for closed in notes.closed] == [False, False, True]
    assert [closed.model is None for closed in notes.closed] == [False, False, True]


def test_an_average_is_weighted_by_samples_and_does_not_depend_on_who_comes_first(plan: CheckedPlan) -> None:
    rng = np.random.default_rng(0)
    updates = {
        n: {k: rng.normal(size=v.shape).astype(np.float32) for k, v in MODEL.items()} for n in ("x", "y", "z")
    }
    sizes = {"x": 10, "y": 31, "z": 7}
    models = []
    for order in (("x", "y", "z"), ("z", "x", "y")):
        aggregator, _ = opened(plan, order)
        for name in order:
            for task in aggregator.get_tasks(name)[0] or []:
                done = TaskOutput(
                    updates[name] if task == TRAIN else {}, output(samples=sizes[name]).statistics
                )
                aggregator.send_local_task_results(name, 0, task, sizes[name], done)
        models.append(aggregator.get_model(1))
    expected = sum(updates[n]["a"].astype(np.float64) * sizes[n] for n in updates) / sum(sizes.values())
    np.testing.assert_allclose(models[0]["a"], expected, rtol=1e-6)
    assert all(models[0][k].tobytes() == models[1][k].tobytes() for k in MODEL), "the same bits"


BAD = {
    "unknown tensor": {"c": np.zeros(1, np.float32)},
    "missing tensor": {"b": None},
    "has shape": {"a": np.zeros((3, 2), np.float32)},
    "has dtype": {"a": np.zeros((2, 3), np.float64)},
    "NaN": {"a": np.full((2, 3), np.nan, np.float32)},
    "infinity": {"b": np.asarray(np.inf, np.float32)},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_update_is_refused_before_it_is_recorded(plan: CheckedPlan, reason: str) -> None:
    aggregator, notes = opened(plan)
    tensors = {k: v for k, v in ({**MODEL, **BAD[reason]}).items() if v is not None}
    with pytest.raises(Refused, match=reason):
        aggregator.send_local_task_results("north", 0, TRAIN, 10, TaskOutput(tensors, output().statistics))
    assert notes.results == []
    run_round(aggregator, {"north": 1.0, "south": 1.0})
    assert aggregator.round_number == 1, "the round is not wedged: a good one still counts"


@pytest.mark.parametrize(
    ("task", "size", "done", "reason"),
    [
        (TRAIN, 0, output(1.0), "sample count of 0"),
        (TRAIN, 1000, output(1.0), "1000 samples are said, 10 counted"),
        (VALIDATE, 10, output(1.0), "unknown tensor"),
        (TRAIN, 10, TaskOutput(MODEL, {}), "confusion|statistics"),
        (TRAIN, 10, output(1.0, right=-3), "confusion"),
        ("wipe", 10, output(), "was not assigned"),
    ],
)
def test_other_results_that_cannot_be(
    plan: CheckedPlan, task: str, size: int, done: TaskOutput, reason: str
) -> None:
    aggregator, notes = opened(plan)
    with pytest.raises(Refused, match=reason):
        aggregator.send_local_task_results("north", 0, task, size, done)
    assert notes.results == []


def test_a_site_without_validation_samples_counts_for_nothing_there(plan: CheckedPlan) -> None:
    aggregator, notes = opened(plan)
    for name, samples in (("north", 10), ("south", 0)):
        for task in aggregator.get_tasks(name)[0] or []:
            size = 10 if task == TRAIN else samples
            done = output(1.0 if task == TRAIN else None, samples=size, right=size // 2)
            aggregator.send_local_task_results(name, 0, task, size, done)
    assert notes.closed[0].metrics[VALIDATE]["accuracy"] == 0.5
    assert [r.metrics for r in notes.results if (r.collaborator, r.task_name) == ("south", VALIDATE)] == [{}]


def test_a_stranger_is_refused_and_a_late_or_repeated_result_does_not_count(plan: CheckedPlan) -> None:
    aggregator, _ = opened(plan)
    with pytest.raises(Refused, match="not in the cohort"):
        aggregator.send_local_task_results("east", 0, TRAIN, 10, output(1.0))
    assert aggregator.send_local_task_results("north", 0, TRAIN, 10, output(1.0))
    assert not aggregator.send_local_task_results("north", 0, TRAIN, 10, output(9.0)), "repeated"
    run_round(aggregator, {"north": 1.0, "south": 1.0})
    assert not aggregator.send_local_task_results("south", 0, TRAIN, 10, output(9.0)), "late"
    assert aggregator.get_model(1)["b"] == 1.0
    with pytest.raises(StaleRound):
        aggregator.get_model(0)


def test_an_envoy_that_fails_leaves_the_cohort_and_too_few_end_the_experiment(
    tmp_path: Path, tiny_plan: dict[str, Any]
) -> None:
    tiny_plan["federation"]["settings"]["classes"] = ["yes", "no"]
    plan = load_plan(write_yaml(tmp_path / "plan.yaml", tiny_plan))
    aggregator, notes = opened(plan, ("north", "south", "west"))
    for name in ("north", "south"):
        for task in aggregator.get_tasks(name)[0] or []:
            aggregator.send_local_task_results(name, 0, task, 10, output(1.0 if task == TRAIN else None))
    aggregator.fail("west", "its disk is full")
    assert aggregator.round_number == 1, "the round goes on with those that are left"
    assert aggregator.get_tasks("west")[3]
    aggregator.fail("north", "its GPU has gone")
    assert aggregator.failure is None, "the others of the open round are not done"
    run_round(aggregator, {"south": 2.0})
    assert aggregator.failure == "north failed: its GPU has gone; west failed: its disk is full"
    assert aggregator.get_tasks("south")[3]
    assert [change.event for change in notes.changes] == ["envoy_failed"] * 2
    assert notes.closed[-1].failure == aggregator.failure, "in one transaction with the round's end"
    assert notes.closed[-1].cohort == ("south",)


def test_whoever_waits_for_tasks_is_woken_when_the_round_turns(plan: CheckedPlan) -> None:
    aggregator, _ = opened(plan)
    for task in aggregator.get_tasks("north")[0] or []:
        aggregator.send_local_task_results("north", 0, task, 10, output(1.0 if task == TRAIN else None))
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(aggregator.get_tasks("north", wait=60)))
    waiting.start()
    run_round(aggregator, {"south": 1.0})
    waiting.join(20)
    assert answers == [([VALIDATE, TRAIN, TUNED], 1, 0, False)]


def test_the_best_model_is_chosen_by_the_plans_metric_and_ties_go_to_the_earlier_round(
    plan: CheckedPlan,
) -> None:
    aggregator, notes = opened(plan)
    for right in (5, 8, 8):
        run_round(aggregator, {"north": 1.0, "south": 1.0}, right=right)
    assert [closed.best.round_number for closed in notes.closed if closed.best] == [0, 1, 1]
    assert notes.closed[-1].best is not None
    assert notes.closed[-1].best.score == 0.8


def test_while_all_scores_are_the_worst_the_model_that_has_learnt_longest_is_the_best(
    plan: CheckedPlan,
) -> None:
    aggregator, notes = opened(plan)
    for _ in range(3):
        run_round(aggregator, {"north": 1.0, "south": 1.0}, right=0)
    assert [closed.best.round_number for closed in notes.closed if closed.best] == [0, 1, 2]
    assert aggregator.finished


def test_patience_ends_an_experiment_whose_scores_stay_the_worst(
    tmp_path: Path, tiny_plan: dict[str, Any]
) -> None:
    tiny_plan["federation"]["settings"] |= {"classes": ["yes", "no"], "patience": 2}
    tiny_plan["aggregator"]["settings"]["rounds_to_train"] = 9
    aggregator, notes = opened(load_plan(write_yaml(tmp_path / "plan.yaml", tiny_plan)))
    for _ in range(3):
        run_round(aggregator, {"north": 1.0, "south": 1.0}, right=0)
    assert aggregator.finished
    assert notes.closed[-1].best is not None
    assert notes.closed[-1].best.round_number == 2


@pytest.mark.parametrize("rule", ["Median", "GeometricMedian"])
def test_openfls_other_aggregation_functions_work(
    tmp_path: Path, tiny_plan: dict[str, Any], rule: str
) -> None:
    tiny_plan["federation"]["settings"]["classes"] = ["yes", "no"]
    tiny_plan["tasks"][TRAIN]["aggregation_type"] = {
        "template": f"openfl.interface.aggregation_functions.{rule}"
    }
    plan = load_plan(write_yaml(tmp_path / "plan.yaml", tiny_plan))
    aggregator, _ = opened(plan, ("x", "y", "z"))
    run_round(aggregator, {"x": 1.0, "y": 2.0, "z": 2.0})
    model = aggregator.get_model(1)
    assert model["a"].dtype == np.float32
    np.testing.assert_allclose(model["a"], 2.0, atol=1e-3)


def test_openfls_straggler_policies_work(tmp_path: Path, tiny_plan: dict[str, Any]) -> None:
    tiny_plan["federation"]["settings"]["classes"] = ["yes", "no"]
    tiny_plan["straggler_handling_policy"] = {
        "template": "openfl.component.CutoffTimePolicy",
        "settings": {"straggler_cutoff_time": 0.2, "minimum_reporting": 1},
    }
    plan = load_plan(write_yaml(tmp_path / "plan.yaml", tiny_plan))
    aggregator, notes = opened(plan)
    for task in aggregator.get_tasks("north")[0] or []:
        aggregator.send_local_task_results("north", 0, task, 10, output(4.0 if task == TRAIN else None))
    aggregator.start_clocks()
    aggregator.wait_for_work(["north"])
    assert aggregator.get_model(1)["b"] == 4.0
    assert notes.closed[0].late == ("south",)
    assert notes.closed[0].cohort == ("north",)


def test_a_percentage_of_the_cohort_is_enough_under_that_policy(
    tmp_path: Path, tiny_plan: dict[str, Any]
) -> None:
    tiny_plan["federation"]["settings"]["classes"] = ["yes", "no"]
    tiny_plan["straggler_handling_policy"] = {
        "template": "openfl.component.PercentagePolicy",
        "settings": {"percent_collaborators_needed": 0.5},
    }
    plan = load_plan(write_yaml(tmp_path / "plan.yaml", tiny_plan))
    aggregator, _ = opened(plan)
    run_round(aggregator, {"south": 4.0})
    assert aggregator.round_number == 1


def test_groups_of_tasks_are_drawn_by_seed_and_round_and_cover_the_cohort() -> None:
    groups = [
        {"name": "learn", "percentage": 0.75, "tasks": ["train"]},
        {"name": "watch", "percentage": 0.25, "tasks": ["validate"]},
    ]
    tasks = {
        "train": {"function": "train_task"},
        "validate": {"function": "validate_task", "kwargs": {"apply": "global"}},
    }
    names = [f"e{i}" for i in range(8)]

    def drawn(seed: int, order: list[str]) -> list[list[str]]:
        assigner = CohortAssigner(groups, seed=seed, tasks=tasks, authorized_cols=order, rounds_to_train=5)
        return [assigner.get_collaborators_for_task("train", r) for r in range(5)]

    first = drawn(3, names)
    assert first == drawn(3, names[::-1]), "the order in which envoys came does not matter"
    assert first != drawn(4, names)
    assert all(len(members) == 6 for members in first)
    assert len({tuple(members) for members in first}) > 1, "each round is drawn anew"


def test_a_plans_aggregators_do_not_share_callbacks(plan: CheckedPlan) -> None:
    """OpenFL's default ``callbacks=[]`` is one list for all aggregators of a process."""
    first, _ = opened(plan)
    second, _ = opened(plan)
    assert first.callbacks.callbacks is not second.callbacks.callbacks
    assert first.callbacks.callbacks == second.callbacks.callbacks == []


def test_what_goes_wrong_at_a_rounds_end_is_the_rounds_and_not_that_of_whoever_reported_last(
    plan: CheckedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*arguments: Any) -> None:
        raise InputError("these sums do not go together")

    monkeypatch.setattr("federation.engine.rounds.outcome_of", cannot)
    aggregator, notes = opened(plan)
    run_round(aggregator, {"north": 1.0, "south": 3.0})
    assert aggregator.failure == "round 0 cannot be ended: these sums do not go together"
    assert aggregator.get_tasks("north")[3], "time to quit"
    assert notes.closed == []
    assert aggregator.authorized_cols == ["north", "south"], "nobody is blamed"


def test_a_fault_of_the_disk_at_a_rounds_end_gives_nothing_up(
    plan: CheckedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator, notes = opened(plan)

    def full(closed: ClosedRound) -> None:
        raise OSError("no space left on device")

    told: list[OSError] = []
    aggregator.on_fault = told.append
    with monkeypatch.context() as disk:
        disk.setattr(notes, "close_round", full)
        run_round(aggregator, {"north": 1.0, "south": 3.0})
    assert aggregator.failure is None
    assert aggregator.round_number == 0
    assert [str(error) for error in told] == ["no space left on device"], "and not to whoever reported last"
    aggregator.go_on()
    assert aggregator.round_number == 1
    assert aggregator.get_model(1)["b"] == 2.0


@pytest.mark.parametrize(
    "error", [OverflowError("math range error"), ValueError("math domain error"), KeyError("math")]
)
def test_statistics_that_no_metrics_come_from_are_refused_before_they_are_recorded(
    plan: CheckedPlan, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def cannot(kind: str, statistics: Any, classes: Any) -> dict[str, float]:
        raise error

    monkeypatch.setattr("federation.engine.checks.sums.derive", cannot)
    aggregator, notes = opened(plan)
    with pytest.raises(Refused, match=r"no metrics come from its statistics: .?math"):
        aggregator.send_local_task_results("north", 0, TRAIN, 10, output(1.0))
    assert notes.results == []
