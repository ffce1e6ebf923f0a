"""The settings of the engine's templates and of a plan's ``federation`` section, as typed dataclasses.

They are read on every floor and where torch is not installed, so nothing here imports what it describes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

Name = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
MOST_TASKS = 100
Seconds = Annotated[float, Field(gt=0, le=100 * 365 * 86_400)]
Times = Annotated[float, Field(ge=1, le=1e9)]


def _distinct(names: list[str]) -> list[str]:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"must differ, {twice!r} stands twice")
    return names


@dataclass(frozen=True)
class NoSettings:
    """For a template that takes none."""


@dataclass(frozen=True)
class AggregatorSettings:
    """How long to train, and which model is the best one; `federation.statistics.is_better` settles ties."""

    rounds_to_train: Count
    best_metric: Name = "accuracy"
    best_direction: Literal["maximize", "minimize"] = "maximize"


@dataclass(frozen=True)
class TaskGroup:
    """Tasks that a share of the cohort runs, in this order."""

    name: Name
    percentage: Annotated[float, Field(gt=0, le=1)]
    tasks: Annotated[list[Name], Field(min_length=1, max_length=MOST_TASKS)]


@dataclass(frozen=True)
class CohortAssignerSettings:
    """Which tasks a round's cohort runs."""

    task_groups: Annotated[list[TaskGroup], Field(min_length=1, max_length=MOST_TASKS)]


@dataclass(frozen=True)
class CutoffTimeSettings:
    """Close the round so many seconds after it has begun, if enough have reported."""

    straggler_cutoff_time: Seconds
    minimum_reporting: Count = 1


@dataclass(frozen=True)
class PercentageSettings:
    """Close the round when this share of the cohort, and at least so many, have reported."""

    percent_collaborators_needed: Annotated[float, Field(gt=0, le=1)] = 1.0
    minimum_reporting: Count = 1


@dataclass(frozen=True)
class StartFrom:
    """Begin with the result of an earlier experiment instead of the initial model.

    Parameters
    ----------
    experiment : str
        Its name.
    which : {"best", "last"}
        Which of its models.
    take : list of str, optional
        Parts of the model, as its experiment names them (``encoder``), or patterns of tensor names (``wav2vec2.*``): what fits
        is taken, the rest is new by the seed. The whole model by default.
    """

    experiment: Name
    which: Literal["best", "last"] = "best"
    take: Annotated[list[Name], Field(min_length=1, max_length=100), AfterValidator(_distinct)] | None = None


@dataclass(frozen=True)
class FederationSettings:
    """Which envoys a plan needs, and what makes its result reproducible.

    Parameters
    ----------
    envoys : int
        At least so many that match must be online.
    dataset : str
        What their shards must hold.
    classes : list of str
        The labels, in the order of the model's outputs; empty for a kind of metrics that needs none.
    seed : int
        All randomness derives from it, an envoy's name and a round's number.
    torch_threads : int
        Sums depend on it, so a site's cores may not decide it.
    metrics : str
        The kind of statistics that sites send and that the metrics are derived from.
    start_from : StartFrom, optional
        An earlier experiment's result to begin with.
    cohort : int or float, optional
        How many of the experiment's envoys run a round, as a number or as a share (rounded up), drawn with the seed; all by
        default.
    grace : float
        An envoy that is away for more seconds than these is absent: nobody waits for it any longer.
    round_limit : float
        An envoy that is there and has not finished a round within so many seconds counts for nothing in it.
    patience : int, optional
        Stop when the best metric has not improved for so many rounds.
    join_late : bool
        Envoys that match and come when the experiment runs take part from the next round.
    enlargement : float
        How many samples an epoch makes of each one at most. What the experiment says, if it says it.
    max_share : float, optional
        No envoy has more than this share of a round's weight (`federation.engine.weights`).
    outlier : float
        An update whose norm is more than so many times that of the others is left out (`federation.engine.norms`).
    clip : float, optional
        Scale what is above so many times the norm of the others down to it, in the place of leaving it out.
    """

    envoys: Count
    dataset: Name
    classes: Annotated[list[Name], Field(max_length=10_000), AfterValidator(_distinct)] = field(
        default_factory=list
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    torch_threads: Annotated[int, Field(ge=1, le=1024)] = 1
    metrics: Name = "classification"
    start_from: StartFrom | None = None
    cohort: Annotated[int, Field(ge=1, le=1_000_000)] | Annotated[float, Field(gt=0, lt=1)] | None = None
    grace: Seconds = 600.0
    round_limit: Seconds = 86_400.0
    patience: Count | None = None
    join_late: bool = False
    enlargement: Annotated[float, Field(ge=1, le=1000)] = 1.0
    max_share: Annotated[float, Field(gt=0, le=1)] | None = None
    outlier: Times = 1000.0
    clip: Times | None = None


UNWRITTEN = (
    "cohort",
    "grace",
    "round_limit",
    "patience",
    "join_late",
    "enlargement",
    "max_share",
    "outlier",
    "clip",
)
"""Settings that came after version 0.1.0, which knows no such keys: at their defaults a plan's JSON leaves them out."""
