"""The sums that sites send, and the metrics that are derived from them exactly."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from federation.errors import InputError
from federation.statistics import Kind, add, check, classification, derive

CLASSES = ("yes", "no", "up")


def draw(count: int, seed: int = 0) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(seed)
    labels, predictions = generator.integers(0, len(CLASSES), (2, count))
    return labels, predictions, generator.exponential(size=count)


def test_the_confusion_counts_have_true_classes_as_rows() -> None:
    sums = classification(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), np.array([1.0, 2.0, 3.0, 4.0]), 3)
    assert sums["confusion"].tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert (float(sums["loss_sum"]), int(sums["samples"])) == (10.0, 4)


def test_metrics_by_hand() -> None:
    sums = classification(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), np.array([1.0, 2.0, 3.0, 4.0]), 3)
    assert derive("classification", sums, CLASSES) == pytest.approx(
        {
            "loss": 2.5,
            "accuracy": 0.5,
            "macro_f1": (1 / 2 + 2 / 3 + 0) / 3,
            "recall/yes": 0.5,
            "recall/no": 1.0,
            "recall/up": 0.0,
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_sites_sums_give_what_sklearn_gives_on_all_samples_at_once(seed: int) -> None:
    labels, predictions, losses = draw(200, seed)
    sites = [slice(0, 20), slice(20, 150), slice(150, 200)]
    total = reduce(add, (classification(labels[s], predictions[s], losses[s], 3) for s in sites))
    metrics = derive("classification", total, CLASSES)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(labels, predictions), abs=1e-15)
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, predictions, average="macro"), abs=1e-15)
    recalls = recall_score(labels, predictions, average=None)
    assert [metrics[f"recall/{name}"] for name in CLASSES] == pytest.approx(list(recalls), abs=1e-15)
    assert metrics["loss"] == pytest.approx(losses.mean())


def test_a_mean_of_the_sites_macro_f1_would_be_another_number() -> None:
    labels, predictions, losses = draw(60)
    halves = [classification(labels[s], predictions[s], losses[s], 3) for s in (slice(0, 10), slice(10, 60))]
    mean = np.mean([derive("classification", half, CLASSES)["macro_f1"] for half in halves])
    assert derive("classification", add(*halves), CLASSES)["macro_f1"] != pytest.approx(mean, abs=1e-3)


def test_a_class_that_nobody_has_or_predicts_counts_for_nothing() -> None:
    sums = classification(np.array([0, 1]), np.array([0, 1]), np.array([0.1, 0.1]), 3)
    metrics = derive("classification", sums, CLASSES)
    assert metrics["macro_f1"] == 1.0
    assert "recall/up" not in metrics


def test_no_metrics_come_from_no_samples() -> None:
    none = np.zeros(0, np.int64)
    with pytest.raises(InputError, match="zero samples"):
        derive("classification", classification(none, none, np.zeros(0), 3), CLASSES)


def test_sums_of_different_numbers_of_classes_cannot_be_added() -> None:
    labels, predictions, losses = draw(4)
    with pytest.raises(InputError, match="cannot be added"):
        add(classification(labels, predictions, losses, 3), classification(labels, predictions, losses, 4))


def test_sums_that_no_honest_site_sends_are_refused() -> None:
    good = classification(*draw(10), 3)
    check("classification", good, 3)
    negative = good["confusion"].copy()
    negative[0, 0] -= 100
    negative[0, 1] += 100
    huge = np.full((3, 3), 2**62, np.int64)
    bad: list[tuple[dict[str, Any], str]] = [
        (
            {name: value for name, value in good.items() if name != "samples"},
            "must be confusion, loss_sum and samples",
        ),
        ({**good, "accuracy": np.asarray(1.0)}, "must be confusion, loss_sum and samples"),
        ({**good, "confusion": good["confusion"].astype(np.float64)}, "confusion must be int64"),
        ({**good, "confusion": good["confusion"][:2]}, "confusion must be int64"),
        ({**good, "confusion": negative}, "at least 0"),
        ({**good, "confusion": huge, "samples": np.asarray(9 * 2**62 % 2**63, np.int64)}, "at most 2"),
        ({**good, "samples": np.asarray(11)}, "sum up to the samples"),
        ({**good, "loss_sum": np.asarray(np.nan)}, "loss_sum must be finite"),
        ({**good, "loss_sum": np.asarray(-1.0)}, "loss_sum must be finite"),
    ]
    for statistics, message in bad:
        with pytest.raises(InputError, match=message):
            check("classification", statistics, 3)
    with pytest.raises(InputError, match="there is no kind of metrics"):
        check("regression", good, 3)


def test_no_number_of_sound_sums_makes_an_unsound_total() -> None:
    """Else the round could not be ended, by nobody's fault alone."""
    largest = {
        "confusion": np.array([[2**39, 0, 0], [0, 0, 0], [0, 0, 0]], np.int64),
        "loss_sum": np.asarray(np.finfo(np.float64).max / 2**14),
        "samples": np.asarray(2**39, np.int64),
    }
    check("classification", largest, 3)
    total = {name: value * value.dtype.type(10_000) for name, value in largest.items()}
    assert derive("classification", total, CLASSES)["accuracy"] == 1.0
    assert np.isfinite(total["loss_sum"])
    for name, more in (("confusion", largest["confusion"] + 1), ("loss_sum", np.asarray(1e305))):
        with pytest.raises(InputError, match=f"{name} must be at most"):
            check("classification", largest | {name: more}, 3)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32"])
def test_sums_of_a_narrow_dtype_stay_within_it(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Kind(
        layout=lambda n_classes: {"narrow": (dtype, ()), "samples": ("int64", ())},
        derive=lambda sums, classes: {"narrow": float(sums["narrow"])},
        names=lambda classes: ("narrow",),
        contradiction=lambda sums: None,
    )
    monkeypatch.setattr("federation.statistics.kind_named", lambda name: narrow)
    kind = np.dtype(dtype)
    top = np.finfo(kind).max if kind.kind == "f" else np.iinfo(kind).max
    with pytest.raises(InputError, match="narrow must be at most"):
        check("narrow", {"narrow": np.asarray(top // 100, kind), "samples": np.asarray(1)}, 0)
    check("narrow", {"narrow": np.asarray(0, kind), "samples": np.asarray(1)}, 0)
