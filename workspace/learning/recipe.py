"""What an experiment must bring to be trained, and how a plan's experiment is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from federation.errors import InputError
from federation.experiments import experiment_named
from workspace.learning.settings import TrainingSettings

Array = npt.NDArray[Any]
Batch = dict[str, Any]  # tensors, which are moved to the device, and whatever else the recipe's loss wants
Sample = Mapping[str, Any]
Role = Literal["exchanged", "frozen", "local"]


class Samples(Protocol):
    """What the loop needs of a split: `shard_descriptors.descriptor.Split`, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@dataclass(frozen=True)
class AttentionMap:
    """Who looks at whom: ``weights`` is float of shape [len(rows), len(columns)]; the labels are the tokens."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    weights: Array


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one input of a user's.

    Parameters
    ----------
    input : str
        The text, or the file, as it was given.
    output : str
        The class, or the text that was written.
    scores : dict of str to float
        The probability of each class, or what the recipe says of its output.
    attention : sequence of AttentionMap
        Empty unless it was asked for.
    """

    input: str
    output: str
    scores: Mapping[str, float]
    attention: Sequence[AttentionMap] = ()


@dataclass(frozen=True)
class NoOptions:
    """For a recipe whose predictions have nothing to choose."""


class Recipe(ABC):
    """One experiment: its model, its preprocessing and its loss, in plain PyTorch.

    It is built as ``Recipe(settings, classes, checkpoints)``: the settings as the plan gives them, the classes in the order
    of the labels, and hub ids with the local folders that hold them.

    Attributes
    ----------
    classes : sequence of str
        In the order of the labels; empty where samples have none.
    metrics : str
        The kind of statistics that `loss` returns (`federation.statistics`).
    options : type
        The dataclass of what a user may choose for `predict`.
    parts : mapping of str to sequence of str
        What a plan's ``start_from.take`` may name, and the patterns of the names of its tensors.
    """

    classes: Sequence[str]
    metrics: ClassVar[str] = "classification"
    options: ClassVar[type] = NoOptions
    parts: ClassVar[Mapping[str, Sequence[str]]] = {}

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Build the model on the CPU; ``requires_grad`` marks what is trained.

        Its random weights come from torch's global generator, which the caller has seeded.
        """

    @abstractmethod
    def collate(self, samples: Sequence[Sample], generator: np.random.Generator | None) -> Batch:
        """Make a batch of samples; augmented by the generator's draws if there is one."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, Array]]:
        """Return the mean loss of a batch and its statistics (`federation.statistics`)."""

    @abstractmethod
    def export(self, model: nn.Module, folder: Path) -> None:
        """Write the model as a folder that its own ecosystem loads."""

    @abstractmethod
    def predict(
        self, model: nn.Module, inputs: Sequence[str], options: Any, attention: bool = False
    ) -> list[Prediction]:
        """Apply the model to a user's own inputs.

        Parameters
        ----------
        model
            In evaluation mode, on any device.
        inputs
            Texts, or paths of files.
        options
            Of the dataclass that `options` names.
        attention
            Whether attention maps are wanted, where the model has any.

        Raises
        ------
        InputError
            If an input cannot be used.
        """

    def role(self, name: str, tensor: torch.Tensor) -> Role:
        """Say what becomes of a parameter or buffer: it travels, or is the same everywhere, or is the site's own.

        By default what is trained travels, the rest of the floats is frozen, and integers are local.
        """
        return role_by_gradient(name, tensor)

    def learning_rate_share(self, name: str, progress: float) -> float:
        """Return a parameter's share of the learning rate in the round that begins at this point of the experiment.

        Zero lets it rest: no gradient is computed for it in that round. ``progress`` is 0 at the first round and below 1.
        """
        return 1.0

    def training_samples(self, split: Samples) -> Samples:
        """Return what an epoch goes through: the split, or more samples made of it."""
        return split


def role_by_gradient(name: str, tensor: torch.Tensor) -> Role:
    """Say that what is trained travels, that the rest of the floats is frozen and that integers are local."""
    if isinstance(tensor, nn.Parameter):
        return "exchanged" if tensor.requires_grad else "frozen"
    return "frozen" if tensor.is_floating_point() else "local"


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
        If there is no such experiment here, or its recipe cannot be imported or has statistics of another kind.
    """
    known = experiment_named(experiment)
    module, _, name = known.recipe.partition(":")
    try:
        kind: type[Recipe] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the recipe {known.recipe} of the experiment {experiment} cannot be imported: {error}"
        ) from error
    if kind.metrics != known.statistics:
        raise InputError(
            f"the experiment {experiment} promises statistics of the kind {known.statistics}, its recipe has {kind.metrics}"
        )
    return kind(settings, classes, checkpoints)  # type: ignore[call-arg]
