"""The OpenFL task runner around the one training loop: the only learning code that knows OpenFL.

It wraps OpenFL's ``TaskRunner`` interface and not its ``PyTorchTaskRunner``, which sends the whole state and casts integers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from openfl.federated.task.runner import TaskRunner
from openfl.utilities import TensorKey

from federation.engine.build import Site
from federation.errors import Refused
from federation.statistics import nothing
from federation.tensors import Array, Tensors, most_bytes, specs_of
from workspace.learning.exchange import (
    exchanged_tensors,
    frozen_fingerprint,
    load_exchanged,
    load_frozen,
    load_local,
    local_tensors,
    tensor_specs,
)
from workspace.learning.initial import build_initial
from workspace.learning.local_tensors import KEPT, LocalTensors
from workspace.learning.training import evaluate, train_round

logger = logging.getLogger(__name__)

GLOBAL, LOCAL = "GLOBAL", "LOCAL"


class FineTuning(TaskRunner):
    """Fine-tunes an experiment's model on a shard: the tasks ``train_task`` and ``validate_task``.

    Parameters
    ----------
    data_loader
        Serves the shard's splits.
    experiment
        The name of the recipe.
    classes, rounds, seed, torch_threads, metrics
        Of the plan.
    site
        Where this runs.
    **settings
        The recipe's settings, as the plan gives them.

    Attributes
    ----------
    names : list of str
        Of the exchanged tensors.
    most_bytes : int
        What they take where they travel, at most.
    parameters : int
        Of the whole model.
    disk_bytes : int
        What a round's model and the site's own tensors take on a disk, at most.

    Raises
    ------
    Refused
        If the frozen part of the model is not the workspace's, or the shard holds other classes.
    """

    def __init__(
        self,
        data_loader: Any,
        experiment: str,
        classes: Sequence[str],
        rounds: int,
        seed: int,
        torch_threads: int,
        metrics: str,
        site: Site,
        **settings: Any,
    ) -> None:
        super().__init__(data_loader)
        if list(data_loader.shard.classes) != list(classes):
            raise Refused(
                f"{site.name}: the shard's classes are not the plan's; set the shard descriptor's `classes`"
            )
        torch.set_num_threads(torch_threads)
        self.site = site
        self.metrics = metrics
        self.seed = seed
        self.rounds = rounds
        self.device = torch.device(site.device)
        self.settings, self.recipe, self.model = build_initial(
            experiment, settings, classes, seed, site.checkpoints
        )
        if self.recipe.metrics != metrics:
            raise Refused(
                f"the experiment {experiment} sends statistics of the kind {self.recipe.metrics}, the plan's "
                f"federation.settings.metrics is {metrics}"
            )
        load_frozen(self.model, site.frozen, self.recipe.role)
        self._check_frozen(site.frozen_fingerprint)
        specs = tensor_specs(self.model, self.recipe.role)
        self.names, self.most_bytes = list(specs), most_bytes(specs)
        self._initial_local = local_tensors(self.model, self.recipe.role)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        kept = most_bytes(specs_of(self._initial_local)) if self._initial_local else 0
        self.disk_bytes = self.most_bytes + (KEPT + 1) * kept
        state = Path(site.state) if site.state and self._initial_local else None
        self._local = LocalTensors(state)
        self.model.to(self.device)

    def initialize_tensorkeys_for_functions(self, with_opt_vars: bool = False) -> None:
        """Do nothing: what a function needs follows from its arguments, see `get_required_tensorkeys_for_function`."""

    def get_required_tensorkeys_for_function(self, func_name: str, **kwargs: Any) -> list[Any]:
        """Name what a task starts from: the aggregate, or what training left here."""
        if func_name == "validate_task" and kwargs.get("apply", "global") == "local":
            return [TensorKey(name, LOCAL, 0, False, ("trained",)) for name in self.names]
        return [TensorKey(name, GLOBAL, 0, False, ("model",)) for name in self.names]

    def train_task(
        self,
        col_name: str,
        round_num: int,
        input_tensor_dict: Tensors,
        counted: int | None = None,
        **kwargs: Any,
    ) -> tuple[dict[Any, Array], dict[Any, Array]]:
        """Train for one round from the aggregate; send the trained tensors and the sums of the training batches."""
        self._local.begin(round_num, counted)
        self._load(input_tensor_dict, round_num)
        report = train_round(
            self.recipe,
            self.model,
            self.data_loader.get_train_loader(),
            self.settings,
            rounds=self.rounds,
            round_number=round_num,
            seed=self.seed,
            site=self.site.name,
            device=self.device,
        )
        logger.info("round %d: %d samples in %.1f s", round_num, report.samples, report.seconds)
        trained = exchanged_tensors(self.model, self.recipe.role)
        if self._initial_local:
            self._local.keep(round_num, local_tensors(self.model, self.recipe.role))
        sent = {
            TensorKey(name, col_name, round_num, False, ("trained",)): value
            for name, value in trained.items()
        }
        return sent | _statistics(report.statistics, col_name, round_num), sent

    def validate_task(
        self,
        col_name: str,
        round_num: int,
        input_tensor_dict: Tensors,
        counted: int | None = None,
        **kwargs: Any,
    ) -> tuple[dict[Any, Array], dict[Any, Array]]:
        """Measure a model on the shard's validation samples; send the sums."""
        self._local.begin(round_num, counted)
        split = self.data_loader.get_valid_loader()
        if len(split) == 0:
            return _statistics(nothing(self.metrics, len(self.recipe.classes)), col_name, round_num), {}
        # What this round's own training has left here belongs to its model, but not to the aggregate that it began with.
        self._load(input_tensor_dict, round_num + int(kwargs.get("apply", "global") == "local"))
        statistics = evaluate(self.recipe, self.model, split, self.settings, device=self.device)
        return _statistics(statistics, col_name, round_num), {}

    def _load(self, tensors: Tensors, round_number: int) -> None:
        """Set what travels, and beside it what the site's rounds before this one have left."""
        load_exchanged(self.model, tensors, self.recipe.role)
        if self._initial_local:
            load_local(self.model, self._local.before(round_number) or self._initial_local, self.recipe.role)

    def _check_frozen(self, expected: str | None) -> None:
        if expected is not None and (found := frozen_fingerprint(self.model, self.recipe.role)) != expected:
            raise Refused(
                f"{self.site.name}: the frozen part of the model differs from the workspace's ({found[:12]} here, "
                f"{expected[:12]} there); use the same checkpoint files and versions at every site"
            )


def _statistics(statistics: Mapping[str, Array], col_name: str, round_num: int) -> dict[Any, Array]:
    return {
        TensorKey(name, col_name, round_num, False, ("metric",)): value for name, value in statistics.items()
    }
