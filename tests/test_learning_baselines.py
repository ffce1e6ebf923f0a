"""Training alone, and measuring: the baselines, and an interval that knows that speakers differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federation.errors import InputError
from federation.statistics import derive
from tests.learning_parts import CLASSES, SMALL, Tones, small_recipe
from workspace.learning.baselines import train_alone
from workspace.learning.evaluation import bootstrap_interval, counts_by_group, measure
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
    right, count = counts_by_group(RECIPE, model, split, SMALL, device="cpu")
    assert (right.sum() / count.sum(), len(count)) == (measured.accuracy, 5)


def test_nothing_is_measured_on_nothing() -> None:
    with pytest.raises(InputError, match="empty"):
        measure(RECIPE, initial_model(RECIPE, 1), Tones(0), SMALL, device="cpu")


def test_the_interval_is_seeded_and_covers_the_accuracy() -> None:
    right, count = np.array([9, 5, 7, 8, 2, 10]), np.full(6, 10)
    low, high = bootstrap_interval(right, count, 0)
    assert (low, high) == bootstrap_interval(right, count, 0) != bootstrap_interval(right, count, 1)
    assert low < right.sum() / count.sum() < high


def test_speakers_that_differ_make_a_wider_interval_than_clips_alone_would() -> None:
    alike = bootstrap_interval(np.full(20, 5), np.full(20, 10), 0)
    unlike = bootstrap_interval(np.array([0, 10] * 10), np.full(20, 10), 0)
    clips = bootstrap_interval(np.array([0, 1] * 100), np.full(200, 1), 0)
    assert alike == (0.5, 0.5)
    assert unlike[1] - unlike[0] > 2 * (clips[1] - clips[0])
