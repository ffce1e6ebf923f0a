"""Training alone, and measuring: the baselines, and an interval that knows that speakers differ."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import pytest

from federation.errors import InputError
from federation.statistics import add, derive
from tests.learning_parts import CLASSES, SMALL, Tones, small_recipe
from workspace.learning.baselines import train_alone
from workspace.learning.evaluation import bootstrap_interval, measure, sums_by_group
from workspace.learning.exchange import exchanged_tensors
from workspace.learning.training import evaluate, initial_model

RECIPE = small_recipe()


def alone(**changes: Any) -> Any:
    where: dict[str, Any] = {"rounds": 3, "seed": 1, "site": "central", "device": "cpu"} | changes
    train, validation = where.pop("train", Tones(20)), where.pop("validation", Tones(9, seed=3))
    return train_alone(RECIPE, SMALL, train, validation, **where)


def test_a_baseline_sees_the_samples_of_all_rounds_and_counts_its_steps() -> None:
    result = alone()
    assert (result.samples, result.steps, len(result.metrics)) == (3 * 20, 3 * 3, 3)


def test_a_baseline_is_reproducible() -> None:
    one, same, other = (exchanged_tensors(alone(seed=seed).model) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("metric", "maximize", "choose"), [("accuracy", True, max), ("loss", False, min)])
def test_the_best_model_by_the_plans_metric_is_kept_and_ties_go_to_the_earlier(
    metric: str, maximize: bool, choose: Any
) -> None:
    validation = Tones(9, seed=3)
    result = alone(rounds=5, validation=validation, best_metric=metric, maximize=maximize)
    values = [row[metric] for row in result.metrics]
    assert result.best_round == values.index(choose(values)) + 1
    again = derive("classification", evaluate(RECIPE, result.model, validation, SMALL, device="cpu"), CLASSES)
    assert again[metric] == pytest.approx(values[result.best_round - 1])


def test_while_all_scores_are_the_worst_the_model_that_has_learnt_longest_is_kept() -> None:
    train, validation = Tones(0), Tones(0)
    train.extend(clip for clip in Tones(30) if clip["label"] == 0)
    validation.extend(clip for clip in Tones(9, seed=3) if clip["label"] == 2)
    result = alone(rounds=4, train=train, validation=validation)
    assert [row["accuracy"] for row in result.metrics] == [0.0] * 4
    assert result.best_round == 4


def test_without_validation_samples_the_last_model_is_kept() -> None:
    result = alone(validation=Tones(0))
    assert (result.best_round, result.metrics) == (3, [])


def test_a_baseline_says_how_far_it_is() -> None:
    told: list[float] = []
    alone(notice=lambda done, said: told.append(done))
    assert told == pytest.approx([step / 3 for step in range(1, 10)])


def test_a_measurement_agrees_with_the_sums_over_the_whole_split() -> None:
    model, split = initial_model(RECIPE, 1), Tones(23)
    measured = measure(RECIPE, model, split, SMALL, device="cpu")
    whole = derive("classification", evaluate(RECIPE, model, split, SMALL, device="cpu"), CLASSES)
    assert (measured.samples, measured.groups) == (23, 5)
    assert (measured.accuracy, measured.macro_f1) == (whole["accuracy"], whole["macro_f1"])
    assert measured.loss == pytest.approx(whole["loss"], rel=1e-5)
    assert np.array(measured.confusion).sum() == 23
    assert measured.low <= measured.accuracy <= measured.high
    sums = sums_by_group(RECIPE, model, split, SMALL, device="cpu")
    assert list(sums) == [f"s{number}" for number in range(5)]
    assert derive("classification", reduce(add, sums.values()), CLASSES)["accuracy"] == measured.accuracy


def test_nothing_is_measured_on_nothing() -> None:
    with pytest.raises(InputError, match="empty"):
        measure(RECIPE, initial_model(RECIPE, 1), Tones(0), SMALL, device="cpu")


def interval_of(right: Sequence[int], count: int, seed: int = 0) -> tuple[float, float]:
    groups = [{"right": np.asarray(r), "count": np.asarray(count)} for r in right]
    return bootstrap_interval(groups, lambda sums: float(sums["right"] / sums["count"]), seed)


def test_the_interval_is_seeded_and_covers_the_accuracy() -> None:
    right = [9, 5, 7, 8, 2, 10]
    low, high = interval_of(right, 10)
    assert (low, high) == interval_of(right, 10) != interval_of(right, 10, seed=1)
    assert low < sum(right) / 60 < high


def test_speakers_that_differ_make_a_wider_interval_than_clips_alone_would() -> None:
    alike, unlike, clips = (
        interval_of([5] * 20, 10),
        interval_of([0, 10] * 10, 10),
        interval_of([0, 1] * 100, 1),
    )
    assert alike == (0.5, 0.5)
    assert unlike[1] - unlike[0] > 2 * (clips[1] - clips[0])


def test_many_groups_are_measured_in_at_most_two_hundred_parts() -> None:
    split = Tones(450)
    each_its_own = [f"clip {number}" for number in range(450)]
    alone = type("Alone", (Tones,), {"groups": property(lambda self: each_its_own)})(450)
    model = initial_model(RECIPE, 1)
    sums = sums_by_group(RECIPE, model, alone, SMALL, device="cpu")
    assert len(sums) == 200
    whole = evaluate(RECIPE, model, split, SMALL, device="cpu")
    assert np.array_equal(reduce(add, sums.values())["confusion"], whole["confusion"])
