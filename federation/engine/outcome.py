"""What a round comes to: who counts in it, by how much, the metrics of all that count, and the new model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openfl.utilities import TensorKey, change_tags

from federation.engine.aggregation import aggregate
from federation.engine.checks import derive_total, norm_of
from federation.engine.norms import norm, outliers, scaled_down
from federation.engine.results import BestModel, TaskOutput
from federation.engine.tensor_db import TensorDB
from federation.engine.weights import dominant, shares
from federation.settings import FederationSettings
from federation.tensors import Tensors, TensorSpec


@dataclass(frozen=True)
class Outcome:
    """What a round comes to.

    ``counted`` are the collaborators that count in it, sorted; ``left_out`` and ``clipped`` have the norms of updates above
    ``bound``, ``shares`` each collaborator's of the weight. ``model`` is None where nothing was trained, and what the round
    began with where nobody counts.
    """

    counted: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, float]]
    model: Tensors | None
    left_out: Mapping[str, float] = field(default_factory=dict)
    clipped: Mapping[str, float] = field(default_factory=dict)
    bound: float = 0.0
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A round whose work is done.

    Parameters
    ----------
    number
        Of the round.
    names
        The collaborators whose results are whole, sorted.
    tasks
        Of the round.
    trained
        The task that trains; None if none does.
    outputs
        What was sent, by task and collaborator.
    weights
        How much each collaborator's update counts.
    """

    number: int
    names: Sequence[str]
    tasks: Sequence[str]
    trained: str | None
    outputs: Mapping[tuple[str | None, str], TaskOutput]
    weights: Mapping[str, int]

    def of(self, task: str | None) -> dict[str, TaskOutput]:
        """Return what was sent for a task, by collaborator."""
        return {name: self.outputs[task, name] for name in self.names if (task, name) in self.outputs}


def outcome_of(
    finished: Finished,
    tensor_db: TensorDB,
    origin: str,
    expected: Mapping[str, TensorSpec],
    settings: FederationSettings,
    function: Any = None,
) -> Outcome:
    """Judge the updates of a round by their norms, derive its metrics and aggregate.

    Parameters
    ----------
    finished
        The round.
    tensor_db
        Holds its model, and the trained tensors, tagged with their collaborators.
    origin
        The aggregator's uuid.
    expected
        What the model consists of.
    settings
        The plan's: what is left out or clipped, the largest share.
    function
        OpenFL's aggregation function.

    Raises
    ------
    ArithmeticError
        If what comes out is no model.
    """
    updates = finished.of(finished.trained)
    above: dict[str, float] = {}
    most = 0.0
    if updates:
        model = tensor_db.model(origin, finished.number, expected)
        norms = {name: norm_of(output, model) for name, output in updates.items()}
        above, most = outliers(norms, norm(model), settings.clip or settings.outlier)
    left_out = {} if settings.clip is not None else above
    names = [name for name in finished.names if name not in left_out]
    metrics = {
        task: derive_total(
            [sent for name, sent in finished.of(task).items() if name in names],
            settings.metrics,
            settings.classes,
        )
        for task in finished.tasks
    }
    counts = {name: finished.weights[name] for name in updates if name not in left_out}
    found = shares(counts, settings.max_share)
    new: Tensors | None = None
    if updates:
        for name in above if settings.clip is not None else ():
            _clip(name, updates[name].tensors, model, most / above[name], tensor_db, origin, finished.number)
        new = aggregate(tensor_db, origin, finished.number, found, expected, function) if counts else model
    clipped = {} if settings.clip is None else above
    return Outcome(tuple(names), metrics, new, left_out, clipped, most, found)


def best_of(
    best: BestModel | None, round_number: int, scores: Sequence[float | None], direction: str
) -> BestModel | None:
    """Compare the model that a round began with to the best so far; `is_better` says what becomes of equal ones."""
    for score in scores:
        if score is not None:
            found = BestModel(round_number, score)
            best = found if found.beats(best, direction) else best
    return best


def events_of(outcome: Outcome, round_number: int) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return what is to be told of a round beside its metrics, as kinds and bodies of events."""
    told: list[tuple[str, dict[str, Any]]] = []
    for kind, found in (("update_left_out", outcome.left_out), ("update_clipped", outcome.clipped)):
        for name, length in found.items():
            told.append((kind, {"envoy": name, "norm": length, "bound": outcome.bound}))
    for name, share in dominant(outcome.shares).items():
        told.append(("envoy_dominates", {"envoy": name, "share": share}))
    if outcome.left_out and not outcome.counted:
        told.append(("nobody_counted", {"reason": "every update was left out: the model stays as it was"}))
    return tuple((kind, {"round": round_number} | body) for kind, body in told)


def _clip(
    name: str,
    update: Tensors,
    model: Tensors,
    scale: float,
    tensor_db: TensorDB,
    origin: str,
    round_number: int,
) -> None:
    tags = change_tags(("trained",), add_field=name)
    tensor_db.cache_tensor(
        {
            TensorKey(tensor, origin, round_number, False, tags): scaled_down(value, model[tensor], scale)
            for tensor, value in update.items()
        }
    )
