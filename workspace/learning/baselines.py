"""Training without a federation: what every federated result is set against.

The same samples, epochs, batches and schedule as the federated run, on pooled data or on one shard alone; steps are reported,
since sites step in parallel where a central run steps one after another. The optimiser is carried on from round to
round, as somebody who has all the data would do it.
"""

from __future__ import annotations

from collections.abc import Callable
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

Notice = Callable[[float, str], None]  # rounds done, what happens


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
    """

    model: nn.Module
    best_round: int
    metrics: list[dict[str, float]]
    steps: int
    samples: int
    seconds: float


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
) -> BaselineResult:
    """Train for as many rounds' worth of epochs as a plan has, on one split.

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
    """
    model = initial_model(recipe, seed).to(device)
    memory: OptimizerState = {}
    best, best_round = _copied(model), 0
    best_score: float | None = None
    metrics, steps, samples, seconds = [], 0, 0, 0.0
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
        steps, samples, seconds = steps + report.steps, samples + report.samples, seconds + report.seconds
        if len(validation):
            sums = evaluate(recipe, model, validation, settings, device=device)
            metrics.append(derive(kind, sums, recipe.classes))
        # Without validation samples there is nothing to choose by: the last model is taken.
        score = metrics[-1].get(best_metric) if metrics else None
        if score is None or best_score is None or is_better(score, best_score, maximize):
            best, best_round, best_score = _copied(model), number + 1, score
    model.load_state_dict(best)
    return BaselineResult(model, best_round, metrics, steps, samples, seconds)


def _copied(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy all of a model: here nothing travels, so buffers and personal layers belong to it as well."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _progress(notice: Notice | None, rounds_done: int) -> Progress | None:
    if notice is None:
        return None
    return lambda step, steps, loss: notice(rounds_done + step / steps, f"loss {loss:.3f}")
