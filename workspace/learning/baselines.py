"""Training without a federation: what every federated result is set against.

The same samples, epochs, batches and schedule as the federated run, on pooled data or on one shard alone; steps are reported,
since sites step in parallel where a central run steps one after another. The optimiser is carried on from round to
round, as somebody who has all the data would do it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from federation.statistics import derive, is_better
from workspace.learning.recipe import Recipe, Samples
from workspace.learning.settings import TrainingSettings
from workspace.learning.training import (
    Device,
    OptimizerState,
    Progress,
    evaluate,
    initial_model,
    train_round,
)
from workspace.metrics import scores

# Rounds done, and what happens; at a whole number of rounds, what the last of them has come to.
Notice = Callable[[float, str], None]


@dataclass(frozen=True)
class BaselineResult:
    """What a training without a federation came to.

    Parameters
    ----------
    model : torch.nn.Module
        The best one on the validation split, as a federation keeps its best.
    best_round : int
        How many rounds' worth of epochs that model has been trained for.
    metrics : list of dict
        On the validation split after each round's worth of epochs; empty if that split is.
    steps, samples : int
        Optimiser steps, and samples seen.
    seconds : float
        Spent training.
    rounds : int
        How many rounds' worth of epochs were done.
    interrupted : bool
        Whether Ctrl-C came before all were.
    """

    model: nn.Module
    best_round: int
    metrics: list[dict[str, float]]
    steps: int
    samples: int
    seconds: float
    rounds: int
    interrupted: bool = False


def train_alone(
    recipe: Recipe,
    settings: TrainingSettings,
    split: Samples,
    validation: Samples,
    *,
    rounds: int,
    seed: int,
    site: str,
    device: Device,
    best_metric: str = "accuracy",
    maximize: bool = True,
    kind: str = "classification",
    notice: Notice | None = None,
    model: nn.Module | None = None,
) -> BaselineResult:
    """Train for as many rounds' worth of epochs as a plan has, on one split; Ctrl-C ends it with what was reached.

    Parameters
    ----------
    recipe, settings
        The plan's experiment.
    split, validation
        Samples to train on; samples to choose the best model by, as the plan's metric and direction say.
    rounds, seed, site
        As for `train_round`; ``site`` only names a stream of random numbers.
    kind
        Of the statistics.
    notice
        Told how far it is.
    model
        To begin with, which is changed; the seed's by default.
    """
    model = (initial_model(recipe, seed) if model is None else model).to(device)
    memory: OptimizerState = {}
    best, best_round = _copied(model), 0
    best_score: float | None = None
    metrics: list[dict[str, float]] = []
    steps, samples, seconds, done, interrupted = 0, 0, 0.0, 0, False
    try:
        for number in range(rounds):
            report = train_round(
                recipe,
                model,
                split,
                settings,
                rounds=rounds,
                round_number=number,
                seed=seed,
                site=site,
                device=device,
                memory=memory,
                progress=_progress(notice, number),
            )
            found = []
            if len(validation):
                sums = evaluate(recipe, model, validation, settings, device=device)
                found = [derive(kind, sums, recipe.classes)]
            # Without validation samples there is nothing to choose by: the last model is taken.
            score = found[0].get(best_metric) if found else None
            if score is None or best_score is None or is_better(score, best_score, maximize):
                best, best_round, best_score = _copied(model), number + 1, score
            metrics += found
            steps, samples, seconds = steps + report.steps, samples + report.samples, seconds + report.seconds
            done = number + 1
            if notice is not None:
                notice(
                    number + 1.0,
                    _outcome(derive(kind, report.statistics, recipe.classes), metrics, best_round),
                )
    except KeyboardInterrupt:
        interrupted = True
    model.load_state_dict(best)
    return BaselineResult(model, best_round, metrics, steps, samples, seconds, done, interrupted)


def _copied(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy all of a model: here nothing travels, so buffers and personal layers belong to it as well."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _progress(notice: Notice | None, rounds_done: int) -> Progress | None:
    if notice is None:
        return None

    def tell(step: int, steps: int, loss: float) -> None:
        # A whole number of rounds is told when the model has been validated.
        if step < steps:
            notice(rounds_done + step / steps, f"loss {loss:.3f}")

    return tell


def _outcome(training: Mapping[str, float], validations: Sequence[Mapping[str, float]], best: int) -> str:
    """Say what a round has come to, and which was the best so far."""
    told = f"training: {scores(training)}"
    if validations:
        told += f"  validation: {scores(validations[-1])}  best so far: round {best}, {scores(validations[best - 1])}"
    return told
