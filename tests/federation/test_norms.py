"""The norms of updates: the same wherever they are computed, and who lies too far out."""

from __future__ import annotations

import numpy as np
import pytest

from federation.engine.norms import bound, norm, outliers, scaled_down

RANDOM = np.random.default_rng(3)
MODEL = {
    "weight": RANDOM.normal(size=(700, 900)).astype(np.float32),
    "steps": np.asarray(5, np.int64),
    "bias": RANDOM.normal(size=9).astype(np.float16),
}


def test_a_norm_is_that_of_all_elements_together_in_float64() -> None:
    flat = np.concatenate([value.reshape(-1).astype(np.float64) for value in MODEL.values()])
    assert norm(MODEL) == pytest.approx(float(np.linalg.norm(flat)), rel=1e-12)
    moved = {name: value + value.dtype.type(1) for name, value in MODEL.items()}
    expected = np.sqrt(
        sum(np.square(moved[n].astype(np.float64) - MODEL[n].astype(np.float64)).sum() for n in MODEL)
    )
    assert norm(moved, MODEL) == pytest.approx(float(expected), rel=1e-12)


def test_it_does_not_depend_on_the_order_of_tensors_nor_on_how_they_lie_in_memory() -> None:
    backwards = dict(reversed(MODEL.items()))
    assert norm(backwards) == norm(MODEL)
    other = MODEL | {"weight": np.asfortranarray(MODEL["weight"])}
    assert norm(other) == norm(MODEL)


def test_large_values_have_a_norm_and_an_empty_model_has_none() -> None:
    assert norm({"a": np.full(4, 3e38, np.float32)}) == pytest.approx(6e38, rel=1e-6)
    assert norm({}) == 0.0
    assert norm({"a": np.zeros((0, 3), np.float32)}) == 0.0


def test_the_bound_is_so_many_times_the_median_of_three_and_the_models_own_norm_with_fewer() -> None:
    assert bound([1.0, 2.0, 9.0], 50.0, 10.0) == 20.0
    assert bound([1.0, 9.0], 50.0, 10.0) == 500.0
    assert bound([0.0, 0.0, 9.0], 50.0, 10.0) == pytest.approx(10 * (50e-6 + 1e-6))
    assert bound([], 0.0, 10.0) == pytest.approx(1e-5)


def test_who_is_above_the_bound_is_named_with_its_norm() -> None:
    found, most = outliers({"west": 1.0, "north": 1e5, "south": 1.5}, 3.0, 1000.0)
    assert (found, most) == ({"north": 1e5}, 1500.0)
    assert outliers({"west": 1.0, "north": 1500.0, "south": 1.5}, 3.0, 1000.0)[0] == {}


def test_what_is_scaled_down_lies_on_the_way_from_the_model_and_keeps_its_dtype() -> None:
    update = {name: value + value.dtype.type(8) for name, value in MODEL.items()}
    half = {name: scaled_down(value, MODEL[name], 0.5) for name, value in update.items()}
    assert norm(half, MODEL) == pytest.approx(norm(update, MODEL) / 2, rel=1e-4)
    assert {name: value.dtype for name, value in half.items()} == {n: v.dtype for n, v in MODEL.items()}
    assert int(half["steps"]) == 9
