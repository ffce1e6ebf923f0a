"""Reading back a model folder in the Hugging Face format, one that an experiment exported or a published one."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter
from torch import nn

from federation.errors import InputError
from federation.experiments import broken_experiments, usable_experiments
from federation.statistics import kind_named
from workspace.learning.checkpoint_files import are_a_librarys, labels_of, read_config
from workspace.learning.recipe import Recipe, build_recipe
from workspace.learning.settings import TrainingSettings

_ID = "exported/model"  # the folder stands in for this checkpoint


def load_exported(folder: Path) -> tuple[Recipe, TrainingSettings, nn.Module]:
    """Build the recipe and the model of a model folder.

    Returns
    -------
    recipe, settings, model
        The recipe's classes are those of the folder; the model is on the CPU.

    Raises
    ------
    InputError
        If the folder holds no model of a known experiment.
    """
    file = folder / "config.json"
    try:
        config = read_config(file)
        architecture = str((config.get("architectures") or [""])[0])
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"{folder}: no model folder (config.json: {error})") from error
    claims = {
        name: known for name, known in usable_experiments().items() if architecture in known.architectures
    }
    if not claims:
        known = ", ".join(sorted(a for one in usable_experiments().values() for a in one.architectures))
        hint = "; ".join([f"known: {known}", *broken_experiments()])
        raise InputError(f"{folder}: holds {architecture or 'no model'}; {hint}")
    if len(claims) > 1:
        raise InputError(
            f"{folder}: holds {architecture}, which {' and '.join(claims)} claim; uninstall one of them"
        )
    [(experiment, found)] = claims.items()
    labels = labels_of(file, config)
    if are_a_librarys(labels):
        if kind_named(found.statistics).needs_classes:
            named = ", ".join(labels[:3]) or "no id2label"
            hint = 'write them into id2label, as in {"0": "no", "1": "yes"}'
            raise InputError(f"{file}: does not name the model's labels ({named}); {hint}")
        labels = []
    settings = TypeAdapter(found.settings).validate_python({"experiment": experiment, "checkpoint": _ID})
    recipe = build_recipe(experiment, settings, labels, {_ID: str(folder)})
    return recipe, settings, recipe.build_model()
