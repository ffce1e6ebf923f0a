"""The sums that sites send instead of metrics, and the metrics that are derived from them exactly.

A macro F1 or a recall is no average of the sites' own: the confusion counts of all samples must be summed first.
So sites send sums, sums are added in any grouping, and the metrics come from the total. Needs numpy only, since the
director derives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from federation.errors import InputError

Array = npt.NDArray[Any]
Statistics = Mapping[str, Array]

_LIMIT = 2**53  # counts up to here are exact as floats; no site has more samples


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
    assert kind == "classification", kind
    no_sample = np.zeros(0, np.int64)
    return classification(no_sample, no_sample, np.zeros(0), n_classes)


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
        What the statistics are of: ``classification``.
    statistics : mapping of str to numpy.ndarray
        As `classification` sums them.
    classes : sequence of str
        The names of the classes, in the order of the confusion matrix.

    Returns
    -------
    dict of str to float
        ``loss``, ``accuracy``, ``macro_f1`` (over the classes that are present or predicted: others have no F1)
        and ``recall/<class>`` for each class that is present.

    Raises
    ------
    InputError
        If the statistics are not of this kind, or of no sample at all.
    """
    check(kind, statistics, len(classes))
    samples = int(statistics["samples"])
    if samples == 0:
        raise InputError("no metrics can be derived from zero samples: the split is empty")
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


def check(kind: str, statistics: Statistics, n_classes: int) -> None:
    """Refuse statistics that no honest site can have sent.

    Raises
    ------
    InputError
        If a sum is missing, unknown, of a wrong shape or dtype, negative, infinite, or at odds with the others.
    """
    if kind != "classification":
        raise InputError(f"unknown kind of statistics {kind!r}: known is 'classification'")
    expected = {
        "confusion": ("int64", (n_classes, n_classes)),
        "loss_sum": ("float64", ()),
        "samples": ("int64", ()),
    }
    if statistics.keys() != expected.keys():
        names = ", ".join(sorted(str(name)[:40] for name in statistics)) or "none"
        raise InputError(f"statistics must be confusion, loss_sum and samples, not {names[:200]}")
    for name, (dtype, shape) in expected.items():
        value = statistics[name]
        if value.dtype.name != dtype or value.shape != shape:
            raise InputError(
                f"statistics: {name} must be {dtype}{list(shape)}, not {value.dtype.name}{list(value.shape)}"
            )
    confusion, samples = statistics["confusion"], int(statistics["samples"])
    if (
        confusion.min(initial=0) < 0
        or confusion.max(initial=0) > _LIMIT
        or samples != sum(map(int, confusion.flat))
    ):
        raise InputError("statistics: the confusion counts must be at least 0 and sum up to the samples")
    if not (np.isfinite(statistics["loss_sum"]) and statistics["loss_sum"] >= 0):
        raise InputError("statistics: loss_sum must be finite and at least 0")
