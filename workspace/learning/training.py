"""The one training loop: engine-free, and the same bits for the same seed, threads and machine.

Nothing outlives a round but the weights: each round starts the optimiser anew (unless the caller carries one on,
as the central baseline does), seeds every generator, and computes its learning rates from its number alone.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from federation.errors import Diverged, InputError
from federation.statistics import add
from workspace.learning.recipe import Batch, Recipe, Samples
from workspace.learning.settings import TrainingSettings

Array = npt.NDArray[Any]
Device = torch.device | str
EMPTY_SPLIT = "the split to evaluate on is empty: check the shard's settings (classes, partition, split)"
OptimizerState = dict[Any, Any]  # by parameter, as torch keeps it
Progress = Callable[[int, int, float], None]  # step, steps, loss; raising stops the training


@dataclass(frozen=True)
class TrainingReport:
    """What a round's training at one site came to.

    Parameters
    ----------
    samples : int
        Samples seen (what the recipe makes of the split, times the epochs): the site's weight in the average.
    steps : int
        Optimiser steps.
    seconds : float
        How long it took.
    statistics : dict of str to numpy.ndarray
        Summed over the batches as they were trained on.
    """

    samples: int
    steps: int
    seconds: float
    statistics: dict[str, Array]


def site_seed(seed: int, site: str, round_number: int) -> int:
    """Derive the seed of one site's training in one round: 63 bits of a SHA-256."""
    digest = hashlib.sha256(f"{seed}/{site}/{round_number}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators: transformers draws from all of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def initial_model(recipe: Recipe, seed: int) -> nn.Module:
    """Build the model that every site starts with: the same bits wherever the plan's seed is the same."""
    seed_everything(seed)
    return recipe.build_model()


def learning_rate(settings: TrainingSettings, progress: float) -> float:
    """Return the learning rate at a point of the experiment, 0 being its start and 1 its end."""
    if progress < settings.warmup:
        share = progress / settings.warmup
    elif settings.schedule == "constant":
        share = 1.0
    else:
        share = (1 - progress) / (1 - settings.warmup)
    if settings.schedule == "one_cycle":
        share = (1 - math.cos(math.pi * share)) / 2
    return settings.learning_rate * share


def make_optimizer(
    model: nn.Module, settings: TrainingSettings, share: Callable[[str], float] = lambda name: 1.0
) -> torch.optim.Optimizer:
    """Return a fresh AdamW over what is trained; biases and norms are not decayed.

    Parameters
    ----------
    model, settings
        What is trained and how; ``requires_grad`` marks what is.
    share : callable
        A parameter's share of the learning rate, by its name; its group's ``share``.
    """
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups = []
    for value in sorted({share(name) for name in trainable}, reverse=True):
        own = [parameter for name, parameter in trainable.items() if share(name) == value]
        decayed, other = [p for p in own if p.ndim > 1], [p for p in own if p.ndim <= 1]
        groups.append({"params": decayed, "weight_decay": settings.weight_decay, "share": value})
        groups.append({"params": other, "weight_decay": 0.0, "share": value})
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, settings.beta2))


def train_round(
    recipe: Recipe,
    model: nn.Module,
    split: Samples,
    settings: TrainingSettings,
    *,
    rounds: int,
    round_number: int,
    seed: int,
    site: str,
    device: Device,
    memory: OptimizerState | None = None,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train a model, in place, on one site's samples for one round.

    Parameters
    ----------
    recipe : Recipe
        The experiment.
    model : torch.nn.Module
        On the device already.
    split : Samples
        The training samples.
    settings : TrainingSettings
        Optimiser, schedule and batches.
    rounds, round_number : int
        How many rounds the experiment has, and which one this is, from 0.
    seed, site : int, str
        The plan's seed and the site's name, from which this round's randomness derives.
    device : torch.device or str
        Where the model is.
    memory : dict, optional
        The optimiser's state of the round before, which this round goes on with and leaves its own in; without it, the
        optimiser starts anew.
    progress : callable, optional
        Told the step, the steps of the round and the loss after each step.

    Raises
    ------
    InputError
        If there are no samples.
    Diverged
        If the loss is NaN or infinite.
    """
    if not len(split):
        raise InputError("the train split is empty: check the shard's settings (classes, partition, split)")
    split = recipe.training_samples(split)
    began = time.perf_counter()
    own_seed = site_seed(seed, site, round_number)
    seed_everything(own_seed)
    generator = np.random.default_rng(own_seed)
    steps = settings.epochs * math.ceil(len(split) / (settings.batch_size * settings.accumulation))
    total: dict[str, Array] = {}

    def share(name: str) -> float:
        return recipe.learning_rate_share(name, round_number / rounds)

    model.train()
    with _resting(model, share):
        optimizer = make_optimizer(model, settings, share)
        optimizer.state.update(memory or {})
        for step, chunk in enumerate(_effective_batches(len(split), settings, generator)):
            for group in optimizer.param_groups:
                point = (round_number + (step + 0.5) / steps) / rounds
                group["lr"] = learning_rate(settings, point) * group["share"]
            step_loss = 0.0
            for start in range(0, len(chunk), settings.batch_size):
                indices = chunk[start : start + settings.batch_size]
                batch = _to(recipe.collate([split[i] for i in indices], generator), device)
                with _autocast(settings, device):
                    loss, statistics = recipe.loss(model, batch)
                # Weighted by its size, so that the gradients sum up to the mean over the effective batch.
                (loss * (len(indices) / len(chunk))).backward()  # type: ignore[no-untyped-call]
                step_loss += loss.item() * len(indices) / len(chunk)
                total = add(total, statistics) if total else statistics
            if not math.isfinite(step_loss):
                raise Diverged(
                    f"the loss became {step_loss} in round {round_number}, step {step}: "
                    "lower task_runner.settings.learning_rate"
                )
            if settings.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if progress:
                progress(step + 1, steps, step_loss)
        if memory is not None:
            memory.update(optimizer.state)
    return TrainingReport(settings.epochs * len(split), steps, time.perf_counter() - began, total)


def evaluate(
    recipe: Recipe, model: nn.Module, split: Samples, settings: TrainingSettings, *, device: Device
) -> dict[str, Array]:
    """Return the statistics of a model on a split, neither augmented nor trained on.

    Raises
    ------
    InputError
        If there are no samples.
    """
    if not len(split):
        raise InputError(EMPTY_SPLIT)
    total: dict[str, Array] = {}
    model.eval()
    with torch.inference_mode(), _autocast(settings, device):
        for start in range(0, len(split), settings.evaluation_batch_size):
            end = min(start + settings.evaluation_batch_size, len(split))
            batch = _to(recipe.collate([split[i] for i in range(start, end)], None), device)
            _, statistics = recipe.loss(model, batch)
            total = add(total, statistics) if total else statistics
    return total


def _effective_batches(
    samples: int, settings: TrainingSettings, generator: np.random.Generator
) -> Iterator[Sequence[int]]:
    size = settings.batch_size * settings.accumulation
    for _ in range(settings.epochs):
        order = generator.permutation(samples).tolist()
        yield from (order[start : start + size] for start in range(0, samples, size))


@contextmanager
def _resting(model: nn.Module, share: Callable[[str], float]) -> Iterator[None]:
    """Compute no gradient for the parameters that have no share in this round."""
    resting = [p for name, p in model.named_parameters() if p.requires_grad and share(name) == 0]
    for parameter in resting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in resting:
            parameter.requires_grad_(True)


def _to(batch: Batch, device: Device) -> Batch:
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def _autocast(settings: TrainingSettings, device: Device) -> AbstractContextManager[Any]:
    if settings.autocast == "bf16" and torch.device(device).type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
