"""What an experiment must bring to be trained, and how a plan's experiment is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from federation.errors import InputError
from workspace.settings.training import TrainingSettings

Array = npt.NDArray[Any]
Batch = dict[str, torch.Tensor]
Sample = Mapping[str, Any]


class Recipe(Protocol):
    """One experiment: its model, its preprocessing and its loss, in plain PyTorch."""

    classes: Sequence[str]

    def build_model(self) -> nn.Module:
        """Build the model on the CPU; ``requires_grad`` marks what is trained and travels.

        Its random weights come from torch's global generator, which the caller has seeded.
        """

    def collate(self, samples: Sequence[Sample], generator: np.random.Generator | None) -> Batch:
        """Make a batch of samples; augmented by the generator's draws if there is one."""

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, Array]]:
        """Return the mean loss of a batch and its statistics (`federation.statistics`)."""

    def export(self, model: nn.Module, folder: Path) -> None:
        """Write the model as a folder that its own ecosystem loads."""


_RECIPES = {"keyword_spotting": "workspace.experiments.keyword_spotting:KeywordSpotting"}


def build_recipe(
    experiment: str, settings: TrainingSettings, classes: Sequence[str], checkpoints: Mapping[str, str]
) -> Recipe:
    """Build the recipe of a plan's experiment.

    Parameters
    ----------
    experiment : str
        Its name, as ``task_runner.settings.experiment`` gives it.
    settings : TrainingSettings
        The task runner's settings, of this experiment's dataclass.
    classes : sequence of str
        The plan's classes, in the order of the labels.
    checkpoints : mapping of str to str
        Hub ids and the local folders that hold them at this site.

    Raises
    ------
    InputError
        If there is no such experiment.
    """
    if experiment not in _RECIPES:
        raise InputError(f"unknown experiment {experiment!r}: known are {', '.join(sorted(_RECIPES))}")
    module, name = _RECIPES[experiment].split(":")
    recipe: Recipe = getattr(import_module(module), name)(settings, classes, checkpoints)
    return recipe
