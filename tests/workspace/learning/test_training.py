"""The one training loop: it learns, and the same seed gives the same bits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from federation.errors import ExperimentFailed, InputError
from federation.statistics import derive
from federation.tensors import digest
from tests.learning_parts import CLASSES, SMALL, Tones, small_recipe
from workspace.experiments.keyword_spotting.recipe import KeywordSpotting
from workspace.learning.exchange import exchanged_tensors
from workspace.learning.settings import TrainingSettings
from workspace.learning.training import (
    TrainingReport,
    evaluate,
    initial_model,
    learning_rate,
    site_seed,
    train_round,
)

CLIPS = Tones(20)


def train(model: nn.Module, clips: Any = CLIPS, settings: Any = SMALL, **changes: Any) -> TrainingReport:
    where = {"rounds": 3, "round_number": 0, "seed": 1, "site": "north", "device": "cpu"} | changes
    return train_round(small_recipe(), model, clips, settings, **where)


def trained(**changes: Any) -> str:
    """Train from the initial model and return the fingerprint of the result."""
    model = initial_model(small_recipe(), seed=1)
    train(model, **changes)
    return digest(exchanged_tensors(model))


def test_the_same_seed_site_and_round_give_the_same_bits_whatever_was_drawn_before() -> None:
    first = trained()
    torch.rand(3), np.random.rand(3)
    assert trained() == first


@pytest.mark.parametrize("change", [{"seed": 2}, {"site": "south"}, {"round_number": 1}])
def test_another_seed_site_or_round_gives_other_bits(change: dict[str, Any]) -> None:
    assert trained(**change) != trained()


def test_the_initial_model_depends_on_the_seed_alone() -> None:
    models = [initial_model(small_recipe(), seed) for seed in (1, 1, 2)]
    one, same, other = (digest(exchanged_tensors(model)) for model in models)
    assert one == same != other


def test_site_seeds_differ_by_seed_site_and_round() -> None:
    seeds = {site_seed(s, name, r) for s in range(5) for name in ("north", "south") for r in range(5)}
    assert len(seeds) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_few_rounds_learn_to_tell_tones_apart() -> None:
    model = initial_model(small_recipe(), seed=1)
    clips = Tones(48)
    for number in range(12):
        train(model, clips, rounds=12, round_number=number)
    metrics = derive(
        "classification", evaluate(small_recipe(), model, Tones(30, seed=9), SMALL, device="cpu"), CLASSES
    )
    assert metrics["accuracy"] >= 0.9


def test_the_report_counts_samples_steps_and_outcomes() -> None:
    report = train(initial_model(small_recipe(), 1), settings=replace(SMALL, epochs=2, accumulation=2))
    assert (report.samples, report.steps) == (40, 4)  # 20 clips: an effective batch of 16, and one of 4
    assert report.statistics["samples"] == report.statistics["confusion"].sum() == 40


def test_accumulated_batches_step_as_one_large_batch_would() -> None:
    plain = replace(SMALL, augmentation=type(SMALL.augmentation)(), learning_rate=1e-3)
    plain = replace(
        plain, model=replace(SMALL.model, apply_spec_augment=False, hidden_dropout=0.0, layerdrop=0.0)
    )
    plain = replace(plain, model=replace(plain.model, activation_dropout=0.0, attention_dropout=0.0))
    recipe, weights = small_recipe(model=plain.model, augmentation=plain.augmentation), []
    for batch_size, accumulation in ((18, 1), (5, 4)):
        model = initial_model(recipe, 1)
        settings = replace(plain, batch_size=batch_size, accumulation=accumulation)
        clips = Tones(18)
        train_round(recipe, model, clips, settings, rounds=1, round_number=0, seed=1, site="a", device="cpu")
        weights.append(exchanged_tensors(model))
    for name in weights[0]:
        np.testing.assert_allclose(weights[0][name], weights[1][name], atol=2e-4, err_msg=name)


def test_evaluation_neither_changes_the_model_nor_depends_on_the_batch_size() -> None:
    model = initial_model(small_recipe(), 1)
    before = digest(exchanged_tensors(model))
    large = evaluate(small_recipe(), model, CLIPS, SMALL, device="cpu")
    small = evaluate(small_recipe(), model, CLIPS, replace(SMALL, evaluation_batch_size=3), device="cpu")
    assert digest(exchanged_tensors(model)) == before
    np.testing.assert_array_equal(large["confusion"], small["confusion"])
    assert float(large["loss_sum"]) == pytest.approx(float(small["loss_sum"]), rel=1e-5)


def test_progress_is_told_after_each_step_and_may_stop_the_training() -> None:
    told: list[tuple[int, int]] = []

    def stop(step: int, steps: int, loss: float) -> None:
        told.append((step, steps))
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(initial_model(small_recipe(), 1), progress=stop)
    assert told == [(1, 3), (2, 3)]


def test_an_empty_split_is_an_error_that_names_the_split() -> None:
    model = initial_model(small_recipe(), 1)
    with pytest.raises(InputError, match="train split is empty"):
        train(model, Tones(0))
    with pytest.raises(InputError, match="evaluate on is empty"):
        evaluate(small_recipe(), model, Tones(0), SMALL, device="cpu")


def test_a_loss_that_is_not_a_number_ends_the_experiment_with_advice() -> None:
    clips = Tones(8)
    clips[3]["audio"] = np.full(16000, np.nan, np.float32)
    with pytest.raises(ExperimentFailed, match=r"round 0, step 0: lower task_runner\.settings"):
        train(initial_model(small_recipe(), 1), clips)


@pytest.mark.parametrize(
    ("schedule", "at", "expected"),
    [
        ("one_cycle", 0.0, 0.0),
        ("one_cycle", 0.1, 0.5),
        ("one_cycle", 0.2, 1.0),
        ("one_cycle", 0.6, 0.5),
        ("one_cycle", 1.0, 0.0),
        ("linear", 0.05, 0.25),
        ("linear", 0.2, 1.0),
        ("linear", 0.8, 0.25),
        ("constant", 0.1, 0.5),
        ("constant", 0.9, 1.0),
    ],
)
def test_the_learning_rate_is_a_function_of_the_progress_alone(
    schedule: Any, at: float, expected: float
) -> None:
    settings = TrainingSettings(learning_rate=0.4, schedule=schedule, warmup=0.2)
    assert learning_rate(settings, at) == pytest.approx(0.4 * expected)


def test_without_warm_up_the_schedule_starts_at_its_peak() -> None:
    for schedule in ("one_cycle", "linear", "constant"):
        settings = TrainingSettings(learning_rate=0.4, schedule=schedule, warmup=0.0)  # type: ignore[arg-type]
        assert math.isclose(learning_rate(settings, 0.0), 0.4)


class HeadFirst(KeywordSpotting):
    """The encoder rests in the first half of the experiment; then it learns at a tenth of the rate."""

    def learning_rate_share(self, name: str, progress: float) -> float:
        if name.startswith(("projector", "classifier")):
            return 1.0
        return 0.0 if progress < 0.5 else 0.1


def test_what_has_no_share_of_the_learning_rate_rests_for_a_round_and_is_still_exchanged() -> None:
    recipe = HeadFirst(SMALL, CLASSES, {})
    model = initial_model(recipe, seed=1)
    before = exchanged_tensors(model)
    where: dict[str, Any] = {"rounds": 2, "seed": 1, "site": "north", "device": "cpu"}
    train_round(recipe, model, CLIPS, SMALL, round_number=0, **where)
    first = exchanged_tensors(model)
    changed = {name.split(".")[0] for name in first if not np.array_equal(first[name], before[name])}
    assert changed == {"projector", "classifier"}
    assert first.keys() == before.keys()

    train_round(recipe, model, CLIPS, SMALL, round_number=1, **where)
    second = exchanged_tensors(model)
    assert any(
        not np.array_equal(second[name], first[name]) for name in second if name.startswith("wav2vec2")
    )


def test_an_optimiser_whose_memory_is_carried_on_is_another_one_than_a_fresh_one() -> None:
    recipe, results = small_recipe(), []
    for memory in ({}, None):
        model = initial_model(recipe, seed=1)
        for number in range(2):
            train(model, round_number=number, memory=memory)
        results.append(digest(exchanged_tensors(model)))
    assert results[0] != results[1]
