"""``fed evaluate``: a model folder, measured on the test shard of a federation file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from federation.errors import InputError
from federation.federation_file import load_federation, open_shard
from workspace.learning.evaluation import Measurement, measure
from workspace.learning.exported import load_exported


def evaluate_model(folder: Path, federation_path: str, split: Any = "test") -> Measurement:
    """Measure a model on a split of a federation file's test shard.

    Raises
    ------
    InputError
        If the file has no test shard, or the shard's classes are not the model's.
    """
    federation = load_federation(federation_path)
    if federation.test is None:
        raise InputError(f"{federation_path}: test: is missing; name the shard to measure on")
    recipe, settings, model = load_exported(folder)
    shard = open_shard(federation.test.shard_descriptor)
    if list(shard.classes) != list(recipe.classes):
        raise InputError(f"{federation_path}: test: its classes are not those of the model in {folder}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return measure(recipe, model.to(device), shard.split(split), settings, device=device)
