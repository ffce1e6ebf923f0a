"""What a workspace hands in with a plan: the tensors to start from, and the fingerprint of what stays at the sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from federation.errors import InputError
from federation.plan import CheckedPlan
from federation.schema import plain
from federation.tensors import Tensors
from workspace.learning.exchange import exchanged_tensors, frozen_fingerprint, load_exchanged
from workspace.learning.initial import build_initial
from workspace.learning.recipe import Recipe
from workspace.model_folder import write_model_folder


@dataclass(frozen=True)
class InitialExchange:
    """The model of a plan at the workspace, and what of it travels."""

    recipe: Recipe
    model: nn.Module
    tensors: Tensors
    frozen_fingerprint: str


def initial_exchange(
    plan: CheckedPlan,
    checkpoints: Mapping[str, str],
    earlier: Callable[[str, str], Tensors] | None = None,
) -> InitialExchange:
    """Build the model that an experiment starts from.

    Parameters
    ----------
    plan
        Checked.
    checkpoints
        Hub ids mapped to local folders.
    earlier
        Fetches the tensors of an earlier experiment (name, "best" or "last"), for a plan that starts from one.
    """
    recipe, model = build_model(plan, checkpoints)
    if (start := plan.federation.start_from) is not None:
        if earlier is None:
            raise InputError("federation.settings.start_from: there are no earlier experiments here")
        load_exchanged(model, earlier(start.experiment, start.which), recipe.role)
    return InitialExchange(
        recipe, model, exchanged_tensors(model, recipe.role), frozen_fingerprint(model, recipe.role)
    )


def build_model(plan: CheckedPlan, checkpoints: Mapping[str, str]) -> tuple[Recipe, nn.Module]:
    """Build a plan's recipe and seeded model."""
    settings = dict(plain(plan.task_runner))
    experiment = settings.pop("experiment")
    _, recipe, model = build_initial(
        experiment, settings, plan.federation.classes, plan.federation.seed, checkpoints
    )
    return recipe, model


def write_model(exchange: InitialExchange, tensors: Tensors, folder: Path, force: bool = False) -> None:
    """Join exchanged tensors with the frozen part and write a Hugging Face folder, as `write_model_folder` does."""
    load_exchanged(exchange.model, tensors, exchange.recipe.role)
    write_model_folder(folder, lambda unfinished: exchange.recipe.export(exchange.model, unfinished), force)
