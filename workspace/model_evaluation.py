"""``fed evaluate`` and ``fed predict``: a model folder, measured on a test shard or applied to a user's own inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from federation.errors import InputError
from federation.federation_file import load_federation, open_shard
from shard_descriptors.labels import same_name
from workspace.learning.evaluation import Measurement, measure
from workspace.learning.exported import load_exported
from workspace.learning.recipe import Prediction


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
    if list(map(same_name, shard.classes)) != list(map(same_name, recipe.classes)):
        raise InputError(f"{federation_path}: test: its classes are not those of the model in {folder}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return measure(
        recipe,
        model.to(device),
        shard.split(split),
        settings,
        device=device,
        group_name=shard.group_name,
        without_groups=[
            recipe.classes[shard.classes.index(name)]
            for name in shard.without_groups
            if name in shard.classes
        ],
    )


def predict(
    folder: Path, inputs: Sequence[str], options: Mapping[str, Any], attention: bool = False
) -> list[Prediction]:
    """Apply a model folder to a user's own inputs.

    Parameters
    ----------
    folder
        As an experiment wrote it.
    inputs
        Texts, or paths of files, as the experiment has it.
    options
        What its recipe lets a user choose, such as how a translation is decoded.
    attention
        Whether attention maps are wanted.

    Raises
    ------
    InputError
        If an input or an option cannot be used.
    """
    recipe, _, model = load_exported(folder)
    known = [field.name for field in fields(recipe.options)]
    hint = f"this model's options are: {', '.join(known) or 'none'}"
    if unknown := sorted(options.keys() - known):
        raise InputError(f"--option {unknown[0]}: there is no such option; {hint}")
    try:
        chosen: Any = TypeAdapter(recipe.options).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--option {'.'.join(map(str, first['loc']))}: {first['msg']}; {hint}") from error
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return recipe.predict(model.to(device).eval(), inputs, chosen, attention)
