"""The model that an experiment starts from, built alike at the workspace and at every site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from federation.experiments import experiment_named
from workspace.learning.recipe import Recipe, build_recipe
from workspace.learning.training import initial_model


def build_initial(
    experiment: str,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    seed: int,
    checkpoints: Mapping[str, str],
) -> tuple[Any, Recipe, nn.Module]:
    """Build the recipe and its seeded model.

    Parameters
    ----------
    experiment
        The name of a known experiment.
    settings
        Its settings as a plan gives them, without ``experiment``.
    seed
        The plan's: random weights are the same wherever they are drawn from it.
    checkpoints
        Hub ids mapped to local folders.

    Returns
    -------
    settings, recipe, model
        The settings as their dataclass, and the model on the CPU.
    """
    typed = TypeAdapter(experiment_named(experiment).settings).validate_python(
        {"experiment": experiment, **settings}
    )
    recipe = build_recipe(experiment, typed, classes, checkpoints)
    return typed, recipe, initial_model(recipe, seed)
