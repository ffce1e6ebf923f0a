"""How good a model is on a test split, and how sure that is: accuracy with a bootstrap interval over speakers.

Clips of one speaker are alike, so that resampling clips would promise more than it can keep: whole speakers are drawn with
replacement (Efron & Tibshirani 1993, ch. 8, the cluster bootstrap) and the 2.5th and 97.5th percentiles are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from federation.errors import InputError
from federation.statistics import classification, derive
from workspace.learning.recipe import Recipe
from workspace.learning.training import Device, Samples, evaluate
from workspace.settings.training import TrainingSettings

DRAWS = 2000


@dataclass(frozen=True)
class Measurement:
    """A model on a test split.

    Parameters
    ----------
    accuracy, low, high : float
        The share of right answers, and the ends of its 95 % interval.
    loss, macro_f1 : float
        Mean cross-entropy; the mean F1 of the classes.
    samples, groups : int
        Clips and speakers.
    recall : dict of str to float
        By class.
    classes : list of str
        In the order of the confusion matrix.
    confusion : list of list of int
        Rows are true classes.
    """

    accuracy: float
    low: float
    high: float
    loss: float
    macro_f1: float
    samples: int
    groups: int
    recall: dict[str, float]
    classes: list[str]
    confusion: list[list[int]]


def measure(
    recipe: Recipe, model: nn.Module, split: Any, settings: TrainingSettings, *, device: Device, seed: int = 0
) -> Measurement:
    """Measure a model on a split whose ``groups`` name the speaker of each sample.

    Raises
    ------
    InputError
        If the split is empty.
    """
    if not len(split):
        raise InputError(
            "the split to evaluate on is empty: check the shard's settings (classes, split, shares)"
        )
    sums = _sums_by_group(recipe, model, split, settings, device)
    none = np.zeros(0, np.int64)
    total = classification(none, none, np.zeros(0), len(recipe.classes))
    total = {name: np.asarray(total[name] + sum(s[name] for s in sums.values())) for name in total}
    metrics = derive("classification", total, recipe.classes)
    right = np.array([np.trace(s["confusion"]) for s in sums.values()])
    count = np.array([int(s["samples"]) for s in sums.values()])
    low, high = bootstrap_interval(right, count, seed)
    return Measurement(
        accuracy=metrics["accuracy"],
        low=low,
        high=high,
        loss=metrics["loss"],
        macro_f1=metrics["macro_f1"],
        samples=len(split),
        groups=len(sums),
        recall={
            name.partition("/")[2]: value for name, value in metrics.items() if name.startswith("recall/")
        },
        classes=list(recipe.classes),
        confusion=total["confusion"].tolist(),
    )


def counts_by_group(
    recipe: Recipe, model: nn.Module, split: Any, settings: TrainingSettings, *, device: Device
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the right answers and the samples of each group of a split, for intervals over several test sets.

    Returns
    -------
    right, count : numpy.ndarray of int, shape (groups,)
    """
    sums = _sums_by_group(recipe, model, split, settings, device)
    return (
        np.array([np.trace(s["confusion"]) for s in sums.values()]),
        np.array([int(s["samples"]) for s in sums.values()]),
    )


def bootstrap_interval(right: npt.NDArray[Any], count: npt.NDArray[Any], seed: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy under resampling of groups.

    Parameters
    ----------
    right, count : numpy.ndarray of int, shape (groups,)
        Right answers and samples of each group.
    seed : int
        Of the draws.
    """
    drawn = np.random.default_rng(seed).integers(0, len(count), (DRAWS, len(count)))
    accuracies = right[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    low, high = np.percentile(accuracies, [2.5, 97.5])
    return float(low), float(high)


def _sums_by_group(
    recipe: Recipe, model: nn.Module, split: Any, settings: TrainingSettings, device: Device
) -> dict[str, dict[str, npt.NDArray[Any]]]:
    parts = {group: _Subset(split, indices) for group, indices in _indices(split.groups).items()}
    return {group: evaluate(recipe, model, part, settings, device=device) for group, part in parts.items()}


class _Subset(Samples):
    def __init__(self, split: Any, indices: Sequence[int]) -> None:
        self._split, self._indices = split, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Any:
        return self._split[self._indices[index]]


def _indices(groups: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group, []).append(index)
    return found
