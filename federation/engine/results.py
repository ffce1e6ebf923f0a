"""What passes between a collaborator, the aggregator and whoever keeps its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from federation.engine.members import Member
from federation.statistics import is_better, is_worst
from federation.tensors import Tensors


@dataclass(frozen=True)
class TaskOutput:
    """What a task sends: trained tensors (empty for a validation) and the sums that metrics are derived from.

    ``norm`` is that of the tensors less the round's model, once it is known.
    """

    tensors: Tensors
    statistics: Tensors
    blob: str | None = None  # SHA-256 under which the director's store already holds the tensors
    norm: float | None = None


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

    def beats(self, other: BestModel | None, direction: str) -> bool:
        """Say whether this is better than an earlier one, where ``direction`` is "maximize" or "minimize"."""
        return other is None or is_better(self.score, other.score, direction == "maximize")

    def since(self, direction: str) -> int:
        """Return the round from which nothing has been better: the first one while all scores are at the worst."""
        return 0 if is_worst(self.score, direction == "maximize") else self.round_number


@dataclass(frozen=True)
class OpenedRound:
    """A round that begins, or begins again.

    ``cohort`` are the envoys that run it, sorted; ``attempt`` counts from 0; ``late`` were those of the attempt before that
    were there and did not finish it in time; ``wanted`` is what the plan asks for, if there are not so many; ``out`` are those
    of the cohort that count for nothing in it.
    """

    round_number: int
    cohort: tuple[str, ...]
    attempt: int = 0
    late: tuple[str, ...] = ()
    wanted: int | None = None
    out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ClosedRound:
    """A round that is complete.

    ``cohort`` are the envoys that finished it, ``left_out`` those of them that count for nothing in it because of their
    updates' norms, ``late`` those that had not finished; ``metrics`` are the aggregate's, by task; ``model`` is the new model
    (None after the validation-only pass); ``best`` names the round whose starting model is the best so far. ``opens`` is the
    next round; None if it was the last one, the experiment fails with it (``failure``), or too few envoys are there to begin.
    ``reason`` says why it is the last one if rounds are left; ``events`` are what else is to be told of it.
    """

    round_number: int
    cohort: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, float]]
    model: Tensors | None
    best: BestModel | None
    last: bool
    late: tuple[str, ...] = ()
    opens: OpenedRound | None = None
    failure: str = ""
    reason: str = ""
    left_out: tuple[str, ...] = ()
    events: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    @property
    def counted(self) -> tuple[str, ...]:
        """The envoys that count in it."""
        return tuple(name for name in self.cohort if name not in self.left_out)


@dataclass(frozen=True)
class Standing:
    """An envoy's standing in an experiment that changes, and what is told of it.

    ``drops`` says that its results of the open round do not count, since it had not finished it.
    """

    envoy: str
    standing: str
    event: str
    round_number: int
    reason: str = ""
    traceback: str = ""
    drops: bool = False


@dataclass(frozen=True)
class Progress:
    """How far an experiment is: where an aggregator goes on.

    ``opened`` is the round that is open; None: it is to be opened.
    """

    round_number: int = 0
    best: BestModel | None = None
    members: tuple[Member, ...] = ()
    opened: OpenedRound | None = None


class Record(Protocol):
    """Where an aggregator writes what must not be lost; the director's is a journal, the simulation's a file.

    Each call is one transaction, its events included. One that cannot be written raises `OSError`, and has changed nothing.
    """

    def result(self, result: TaskResult) -> None:
        """Write a checked result before it counts."""

    def open_round(self, opened: OpenedRound) -> None:
        """Write that a round begins, and with whom; results of an earlier attempt are void."""

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        """Write a round's outcome at once; return the new model's tensors to go on with (mapped, say)."""

    def standing(self, change: Standing) -> None:
        """Write that an envoy stands otherwise, at once with what follows for its results."""

    def end(self, state: str, reason: str) -> None:
        """Write that the experiment has failed, or was stopped."""

    def event(self, kind: str, **body: Any) -> None:
        """Write something that watchers should see."""
