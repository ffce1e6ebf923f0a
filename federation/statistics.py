"""The sums that sites send instead of metrics, and the metrics that are derived from them exactly.

A macro F1 or a recall is no average of the sites' own: the confusion counts of all samples must be summed first.
So sites send sums, sums are added in any grouping, and the metrics come from the total. Needs numpy only, since the
director derives them.

What is summed depends on the kind of statistics. Each package brings its kinds by the entry-point group
``federation.statistics``: the entry's name is what a plan's ``federation.settings.metrics`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from federation import plugins
from federation.document import nearest, shown
from federation.errors import InputError

Array = npt.NDArray[Any]
Statistics = Mapping[str, Array]

Layout = Mapping[str, tuple[str, tuple[int, ...]]]  # dtype and shape of each sum

GROUP = "federation.statistics"
_EXACT = 2**53  # counts up to here are exact as floats
SITES = 2**14
"""So many sites' sums, each within its bounds, have a total that is sound; more never work on one experiment."""
MOST_COUNTED = _EXACT // SITES
"""No site counts more of anything."""


@dataclass(frozen=True)
class Kind:
    """A kind of statistics: what is summed, and what is derived from the sums.

    Parameters
    ----------
    layout : callable
        The sums by name, for a number of classes. All are at least 0, and one is ``samples``, an int64 scalar. A site's
        counts are at most 2**39, and a sum of a narrower dtype the smaller part of its range, so that totals stay sound.
    derive : callable
        The metrics of sums over at least one sample, given the classes.
    names : callable
        All metrics that may be derived, given the classes.
    contradiction : callable
        What in the sums is at odds, as a clause; None if nothing is.
    needs_classes : bool
        Whether samples have labels.
    """

    layout: Callable[[int], Layout]
    derive: Callable[[Statistics, Sequence[str]], dict[str, float]]
    names: Callable[[Sequence[str]], Sequence[str]]
    contradiction: Callable[[Statistics], str | None]
    needs_classes: bool = True


def kind_named(name: str) -> Kind:
    """Return a kind of statistics that an installed package brings.

    Raises
    ------
    InputError
        In one line: if there is none of that name here, two packages claim it, or its package cannot be used.
    """
    known = plugins.names(GROUP)
    if name not in known:
        raise InputError(f"there is no kind of metrics {shown(name)} here{nearest(name, known)}")
    return plugins.load(GROUP, name, Kind)


def classification(labels: Array, predictions: Array, losses: Array, n_classes: int) -> dict[str, Array]:
    """Sum up the outcome of a batch.

    Parameters
    ----------
    labels, predictions : numpy.ndarray of int
        The true and the predicted class of each sample.
    losses : numpy.ndarray of float
        The loss of each sample.
    n_classes : int
        How many classes there are.

    Returns
    -------
    dict of str to numpy.ndarray
        ``confusion`` (int64, rows are true classes), ``loss_sum`` (float64 scalar), ``samples`` (int64 scalar).
    """
    cells = np.asarray(labels, np.int64) * n_classes + np.asarray(predictions, np.int64)
    confusion = np.bincount(cells, minlength=n_classes * n_classes).reshape(n_classes, n_classes)
    return {
        "confusion": confusion.astype(np.int64),
        "loss_sum": np.asarray(np.sum(losses, dtype=np.float64)),
        "samples": np.asarray(len(labels), np.int64),
    }


def nothing(kind: str, n_classes: int) -> dict[str, Array]:
    """Return the statistics of no sample: those of a site that holds none for a task."""
    return {
        name: np.zeros(shape, dtype) for name, (dtype, shape) in kind_named(kind).layout(n_classes).items()
    }


def add(a: Statistics, b: Statistics) -> dict[str, Array]:
    """Add two sites' (or batches') statistics.

    Raises
    ------
    InputError
        If they do not hold the same sums of the same shapes.
    """
    if a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        raise InputError("statistics of different kinds or numbers of classes cannot be added")
    return {name: np.asarray(a[name] + b[name]) for name in a}


def derive(kind: str, statistics: Statistics, classes: Sequence[str]) -> dict[str, float]:
    """Derive the metrics from summed statistics.

    Parameters
    ----------
    kind : str
        What the statistics are of, such as ``classification``.
    statistics : mapping of str to numpy.ndarray
        The sums of this kind.
    classes : sequence of str
        The names of the classes, in the order of the labels.

    Returns
    -------
    dict of str to float
        By name. Of ``classification``: ``loss``, ``accuracy``, ``macro_f1`` (over the classes that are present or predicted:
        others have no F1) and ``recall/<class>`` for each class that is present.

    Raises
    ------
    InputError
        If the statistics are not of this kind, or of no sample at all.
    """
    _check(kind, statistics, len(classes), sites=1)
    if int(statistics["samples"]) == 0:
        raise InputError("no metrics can be derived from zero samples: the split is empty")
    return kind_named(kind).derive(statistics, classes)


def check(kind: str, statistics: Statistics, n_classes: int) -> None:
    """Refuse statistics that no honest site can have sent, or that could make the total of all sites unsound.

    Raises
    ------
    InputError
        If a sum is missing, unknown, of a wrong shape or dtype, negative, infinite, too large, or at odds with the others.
    """
    _check(kind, statistics, n_classes, sites=SITES)


def _check(kind: str, statistics: Statistics, n_classes: int, sites: int) -> None:
    """Refuse what is not sound, or would not be if so many sites sent the like."""
    layout = kind_named(kind).layout(n_classes)
    if statistics.keys() != layout.keys():
        names = ", ".join(sorted(str(name)[:40] for name in statistics)) or "none"
        *first, last = layout
        raise InputError(f"statistics must be {', '.join(first)} and {last}, not {names[:200]}")
    for name, (dtype, shape) in layout.items():
        value = statistics[name]
        if value.dtype.name != dtype or value.shape != shape:
            raise InputError(
                f"statistics: {name} must be {dtype}{list(shape)}, not {value.dtype.name}{list(value.shape)}"
            )
        if not np.all(np.isfinite(value) & (value >= 0)):
            raise InputError(f"statistics: {name} must be finite and at least 0")
        most = _most(value.dtype, sites)
        if value.max(initial=0) > most:
            told = f"2**{most.bit_length() - 1}" if isinstance(most, int) else f"{most:.3g}"
            raise InputError(f"statistics: {name} must be at most {told}")
    if (odd := kind_named(kind).contradiction(statistics)) is not None:
        raise InputError(f"statistics: {odd}")


def _most(dtype: np.dtype[Any], sites: int) -> int | float:
    """Return the largest sum of a site that cannot make the total of so many leave its dtype, or be inexact."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).max) / sites
    return min(int(np.iinfo(dtype).max) + 1, _EXACT) // sites if dtype.kind in "iu" else np.inf


def is_worst(score: float, maximize: bool) -> bool:
    """Say whether no score is worse: what is to be maximised (accuracy, F1, recall, BLEU) begins at 0, a loss ends nowhere."""
    return maximize and score == 0


def is_better(score: float, best: float, maximize: bool) -> bool:
    """Say whether a model is better than the best of the rounds before it, by the scores of both.

    Of equal ones the earlier is, but at the worst, which says nothing of either, the later: it has learnt for longer.
    A BLEU is 0 in all rounds of a short experiment, and the untrained model, which is the earliest, must not be its outcome.
    """
    sign = 1 if maximize else -1
    return sign * score > sign * best or (score == best and is_worst(score, maximize))


def _classification_layout(n_classes: int) -> Layout:
    return {
        "confusion": ("int64", (n_classes, n_classes)),
        "loss_sum": ("float64", ()),
        "samples": ("int64", ()),
    }


def _classification_metrics(statistics: Statistics, classes: Sequence[str]) -> dict[str, float]:
    samples = int(statistics["samples"])
    confusion = statistics["confusion"]
    hits, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    seen = true + predicted > 0
    metrics = {
        "loss": float(statistics["loss_sum"]) / samples,
        "accuracy": int(hits.sum()) / samples,
        "macro_f1": float(np.mean(2 * hits[seen] / (true + predicted)[seen])),
    }
    metrics |= {f"recall/{name}": int(hits[i]) / int(true[i]) for i, name in enumerate(classes) if true[i]}
    return metrics


def _uncounted(statistics: Statistics) -> str | None:
    if int(statistics["samples"]) != sum(map(int, statistics["confusion"].flat)):
        return "the confusion counts must be at least 0 and sum up to the samples"
    return None


CLASSIFICATION = Kind(
    layout=_classification_layout,
    derive=_classification_metrics,
    names=lambda classes: ("accuracy", "loss", "macro_f1", *(f"recall/{name}" for name in classes)),
    contradiction=_uncounted,
)
