"""How good a model is on a test split, and how sure that is: a metric with a bootstrap interval over groups.

Clips of one speaker are alike, so that resampling clips would promise more than it can keep: whole groups are drawn with
replacement (Efron & Tibshirani 1993, ch. 8, the cluster bootstrap) and the 2.5th and 97.5th percentiles are reported. The
metric is derived anew from each draw's sums, so it may be one that is no average, such as BLEU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from federation.errors import InputError
from federation.statistics import add, derive
from shard_descriptors.remarks import FEW_GROUPS
from workspace.learning.recipe import Recipe, Samples
from workspace.learning.settings import TrainingSettings
from workspace.learning.training import Device, evaluate
from workspace.metrics import headline

DRAWS = 2000
MOST_PARTS = 200
Sums = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Measurement:
    """A model on a test split.

    Parameters
    ----------
    metric : str
        That which the interval is of.
    score, low, high : float
        Its value, and the ends of its 95 % interval.
    metrics : dict of str to float
        All that are derived.
    samples, groups : int
        Samples, and groups (such as speakers) that they come from.
    accuracy, macro_f1, loss : float or None
        Out of ``metrics``, where this kind of statistics has them.
    recall : dict of str to float
        By class.
    classes : list of str
        In the order of the confusion matrix.
    confusion : list of list of int
        Rows are true classes; empty where there are none.
    group_name : str
        What the groups are, in the plural.
    caution : str
        Why the interval says less than it seems to; empty where there is no reason.
    """

    metric: str
    score: float
    low: float
    high: float
    metrics: dict[str, float]
    samples: int
    groups: int
    accuracy: float | None
    macro_f1: float | None
    loss: float | None
    recall: dict[str, float]
    classes: list[str]
    confusion: list[list[int]]
    group_name: str = "groups"
    caution: str = ""


def measure(
    recipe: Recipe,
    model: nn.Module,
    split: Any,
    settings: TrainingSettings,
    *,
    device: Device,
    seed: int = 0,
    metric: str | None = None,
    group_name: str = "groups",
    without_groups: Collection[str] = (),
) -> Measurement:
    """Measure a model on a split whose ``groups`` name the speaker of each sample, or the sample itself.

    Parameters
    ----------
    metric
        What the interval is of; by default `headline` of the recipe's metrics.
    group_name, without_groups
        Of the shard: what the groups are, and the classes whose samples belong to nobody, such as silence. Of these as many are
        drawn as there are, beside the groups: a draw of speakers must not be one of seconds of silence.

    Raises
    ------
    InputError
        If the split is empty.
    """
    if not len(split):
        raise InputError(
            "the split to evaluate on is empty: check the shard's settings (classes, split, shares)"
        )
    owned, nobodys = _by_owner(split, recipe.classes, without_groups)
    sums, apart = (
        list(sums_by_group(recipe, model, part, settings, device=device).values())
        for part in (owned, nobodys)
    )
    total: Sums = reduce(add, [*sums, *apart])
    metrics = derive(recipe.metrics, total, recipe.classes)
    metric = metric or headline(metrics)
    chosen = metric
    low, high = bootstrap_interval(
        sums, lambda some: derive(recipe.metrics, some, recipe.classes)[chosen], seed, apart
    )
    recall = {name.partition("/")[2]: value for name, value in metrics.items() if name.startswith("recall/")}
    groups = len(set(owned.groups))
    return Measurement(
        metric=metric,
        score=metrics[metric],
        low=low,
        high=high,
        metrics=metrics,
        samples=len(split),
        groups=groups,
        accuracy=metrics.get("accuracy"),
        macro_f1=metrics.get("macro_f1"),
        loss=metrics.get("loss"),
        recall=recall,
        classes=list(recipe.classes),
        confusion=total["confusion"].tolist() if "confusion" in total else [],
        group_name=group_name,
        caution=_caution(groups, group_name),
    )


def _caution(groups: int, name: str) -> str:
    if groups >= FEW_GROUPS:
        return ""
    few = f"only {groups} {name.removesuffix('s') if groups == 1 else name}"
    return f"{few}: on others the model may do worse or better than the interval says"


def sums_by_group(
    recipe: Recipe, model: nn.Module, split: Any, settings: TrainingSettings, *, device: Device
) -> dict[str, Sums]:
    """Return the statistics of each group of a split by its name, what a bootstrap draws from.

    Beyond 200 groups, several make one part under the name of its first: a part of one sample each would be slow to evaluate,
    and the interval of as many parts is as wide.
    """
    groups = _indices(split.groups)
    names = list(groups)
    parts = {
        names[start]: list(chain(*(groups[name] for name in names[start::MOST_PARTS])))
        for start in range(min(MOST_PARTS, len(names)))
    }
    return {
        name: evaluate(recipe, model, _Subset(split, part), settings, device=device)
        for name, part in parts.items()
    }


def bootstrap_interval(
    sums: Sequence[Sums], score: Callable[[Sums], float], seed: int = 0, apart: Sequence[Sums] = ()
) -> tuple[float, float]:
    """Return the 95 % interval of a metric under resampling of groups.

    Parameters
    ----------
    sums : sequence of statistics
        Of each group; those of several test sets one after another for an interval over all of them.
    score : callable
        Derives the metric from sums over several groups.
    seed : int
        Of the draws.
    apart : sequence of statistics
        Of what belongs to no group: drawn for itself, so that each draw has as many groups as there are.
    """
    generator = np.random.default_rng(seed)
    stacked = [_drawn(part, generator) for part in (sums, apart) if part]
    scores = [score(reduce(add, parts)) for parts in zip(*stacked, strict=True)]
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def _drawn(sums: Sequence[Sums], generator: np.random.Generator) -> Iterator[Sums]:
    stacked = {name: np.stack([part[name] for part in sums]) for name in sums[0]}
    for draw in generator.integers(0, len(sums), (DRAWS, len(sums))):
        yield {name: values[draw].sum(axis=0) for name, values in stacked.items()}


class _Subset(Samples):
    def __init__(self, split: Any, indices: Sequence[int]) -> None:
        self._split, self._indices = split, indices
        self.groups = [split.groups[index] for index in indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Any:
        return self._split[self._indices[index]]


def _by_owner(split: Any, classes: Sequence[str], nobody: Collection[str]) -> tuple[_Subset, _Subset]:
    """Part a split: the samples that belong to a group, and those of classes that belong to nobody."""
    labels = {classes.index(name) for name in nobody if name in classes}
    apart = [index for index in range(len(split)) if labels and int(split.labels[index]) in labels]
    owned = sorted(set(range(len(split))) - set(apart))
    # Without a single group, what belongs to nobody is all there is to draw.
    return (
        (_Subset(split, owned), _Subset(split, apart))
        if owned
        else (_Subset(split, apart), _Subset(split, []))
    )


def _indices(groups: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group, []).append(index)
    return found
