"""An experiment's events as tidy rows of metrics: one value a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from federation.printing import printable


class MetricRow(TypedDict):
    """One value: of a task in a round, at an envoy or of all of them together ("aggregator")."""

    round: int
    task: str
    origin: str
    metric: str
    value: float


def metric_rows(kind: str, body: Mapping[str, Any]) -> Iterator[MetricRow]:
    """Yield the metrics that an event holds.

    A ``result`` has an envoy's metrics of one task, a ``round_closed`` those of all envoys together, by task. The round of a
    validation of the aggregate is the number of rounds that the model has been trained for.
    """
    if kind == "result":
        for name, value in body["metrics"].items():
            yield _row(body["round"], body["task"], body["envoy"], name, value)
    elif kind == "round_closed":
        for task, metrics in body["metrics"].items():
            for name, value in metrics.items():
                yield _row(body["round"], task, "aggregator", name, value)


def _row(round_number: int, task: str, origin: str, metric: str, value: float) -> MetricRow:
    """Make a row, which will be shown as it is."""
    return MetricRow(
        round=round_number,
        task=printable(task),
        origin=printable(origin),
        metric=printable(metric),
        value=value,
    )


def headline(metrics: Mapping[str, float]) -> str:
    """Return the metric that a result is told by: accuracy or BLEU where there is one, else the loss."""
    return next((name for name in ("accuracy", "bleu") if name in metrics), "loss")


def scores(metrics: Mapping[str, float], digits: int = 3) -> str:
    """Say a result's headline metric and its loss, as far as there are any."""
    names = dict.fromkeys((headline(metrics), "loss"))
    return ", ".join(f"{name} {metrics[name]:.{digits}f}" for name in names if name in metrics)
