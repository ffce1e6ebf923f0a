"""A trial of a plan: its model is built on torch's ``meta`` device, where tensors have shapes and take no memory."""

from __future__ import annotations

import torch

from federation.errors import InputError
from federation.plan import CheckedPlan
from workspace.learning.recipe import build_recipe


def cannot_be_built(plan: CheckedPlan) -> str | None:
    """Say why no model can be made of a plan's settings.

    Returns
    -------
    str or None
        One line; None if it can be, or if it depends on a checkpoint, which each site has for itself.
    """
    if plan.task_runner.checkpoint is not None:
        return None
    try:
        recipe = build_recipe(plan.experiment, plan.task_runner, plan.federation.classes, {})
        with torch.device("meta"):
            recipe.build_model()
    except InputError as error:
        return str(error)
    except Exception as error:
        # Of settings that contradict each other, each recipe and library complains in its own way.
        said = " ".join(str(error).split())[:300]
        return f"task_runner.settings: no model can be made of them ({type(error).__name__}: {said})"
    return None
