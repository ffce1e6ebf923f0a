"""What passes between a collaborator, the aggregator and whoever keeps its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from federation.tensors import Tensors


@dataclass(frozen=True)
class TaskOutput:
    """What a task sends: trained tensors (empty for a validation) and the sums that metrics are derived from."""

    tensors: Tensors
    statistics: Tensors
    blob: str | None = None  # SHA-256 under which the director's store already holds the tensors


@dataclass(frozen=True)
class TaskResult:
    """A checked result: who, which round and task, how many samples, and the output."""

    collaborator: str
    round_number: int
    task_name: str
    data_size: int
    output: TaskOutput
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BestModel:
    """The best model so far: that of the start of ``round_number``, and its score."""

    round_number: int
    score: float


@dataclass(frozen=True)
class ClosedRound:
    """A round that is complete.

    ``metrics`` are the aggregate's, by task; ``model`` is the new model (None after the validation-only pass); ``best`` names
    the round whose starting model is the best so far.
    """

    round_number: int
    cohort: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, float]]
    model: Tensors | None
    best: BestModel | None
    last: bool


class Record(Protocol):
    """Where an aggregator writes what must not be lost; the director's is a journal, the simulation's a file."""

    def result(self, result: TaskResult) -> None:
        """Write a checked result before it counts."""

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        """Write a round's outcome at once; return the new model's tensors to go on with (mapped, say)."""

    def event(self, kind: str, **body: Any) -> None:
        """Write something that watchers should see."""
