"""What a workspace hands in with a plan: the tensors to start from, and the fingerprint of what stays at the sites."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from federation.errors import InputError
from federation.plan import CheckedPlan
from federation.schema import plain
from federation.settings import StartFrom
from federation.tensors import Tensors
from workspace.learning.exchange import (
    exchanged_tensors,
    frozen_fingerprint,
    frozen_tensors,
    load_exchanged,
    load_frozen,
)
from workspace.learning.initial import build_initial
from workspace.learning.recipe import Recipe
from workspace.learning.taking import take
from workspace.model_folder import write_model_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """What there is of an earlier experiment's model: what travelled, and what was frozen by value."""

    exchanged: Tensors
    frozen: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class InitialExchange:
    """The model of a plan at the workspace, and what of it travels: ``frozen`` once, since no checkpoint holds it."""

    recipe: Recipe
    model: nn.Module
    tensors: Tensors
    frozen_fingerprint: str
    frozen: Tensors = field(default_factory=dict)


def initial_exchange(
    plan: CheckedPlan,
    checkpoints: Mapping[str, str],
    earlier: Callable[[str, str], Earlier] | None = None,
) -> InitialExchange:
    """Build the model that an experiment starts from.

    Parameters
    ----------
    plan
        Checked.
    checkpoints
        Hub ids mapped to local folders.
    earlier
        Fetches what there is of an earlier experiment (name, "best" or "last"), for a plan that starts from one.

    Raises
    ------
    InputError
        If the plan wants something of an earlier experiment that is not there, or does not fit.
    """
    recipe, model = build_model(plan, checkpoints)
    frozen: Tensors = {}
    if (start := plan.federation.start_from) is not None:
        if earlier is None:
            raise InputError("federation.settings.start_from: there are no earlier experiments here")
        frozen = _start_from(start, model, recipe, earlier(start.experiment, start.which))
    return InitialExchange(
        recipe, model, exchanged_tensors(model, recipe.role), frozen_fingerprint(model, recipe.role), frozen
    )


def _start_from(start: StartFrom, model: nn.Module, recipe: Recipe, found: Earlier) -> Tensors:
    """Set what a plan starts from, and return what of it is frozen here."""
    if start.take is None:
        load_exchanged(model, found.exchanged, recipe.role)
        load_frozen(model, found.frozen, recipe.role)
        return found.frozen
    try:
        taken = take(model, {**found.frozen, **found.exchanged}, start.take, recipe.parts, recipe.role)
    except InputError as error:
        raise InputError(f"federation.settings.start_from.take: {error}") from error
    logger.info("of the experiment %s: %s", start.experiment, taken)
    return frozen_tensors(model, taken.taken, recipe.role)


def build_model(plan: CheckedPlan, checkpoints: Mapping[str, str]) -> tuple[Recipe, nn.Module]:
    """Build a plan's recipe and seeded model."""
    settings = dict(plain(plan.task_runner))
    experiment = settings.pop("experiment")
    _, recipe, model = build_initial(
        experiment, settings, plan.federation.classes, plan.federation.seed, checkpoints
    )
    return recipe, model


def require_frozen(exchange: InitialExchange, expected: str) -> None:
    """Compare the frozen part of a model with that of an experiment.

    Raises
    ------
    InputError
        If it is another one.
    """
    if (found := frozen_fingerprint(exchange.model, exchange.recipe.role)) != expected:
        raise InputError(
            f"the frozen part of the model differs here ({found[:12]}) from that of the experiment "
            f"({expected[:12]}); use the checkpoint files and versions that it was submitted with"
        )


def write_model(exchange: InitialExchange, tensors: Tensors, folder: Path, force: bool = False) -> None:
    """Join exchanged tensors with the frozen part and write a Hugging Face folder, as `write_model_folder` does."""
    load_exchanged(exchange.model, tensors, exchange.recipe.role)
    write_model_folder(folder, lambda unfinished: exchange.recipe.export(exchange.model, unfinished), force)
