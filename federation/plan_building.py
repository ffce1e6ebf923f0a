"""Whether the model of a plan can be built: asked of the learning code, where it is installed with what it needs."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from federation.document import Problem, Problems
from federation.experiments import experiment_named
from federation.plan import CheckedPlan
from federation.templates import known_templates


def check_building(plan: CheckedPlan, source: str) -> CheckedPlan:
    """Have the plan's task runner build its model without memory for it, and return the plan.

    Parameters
    ----------
    plan
        Found sound.
    source
        The plan's file, as problems call it.

    Raises
    ------
    Problems
        If it cannot be built. Where torch is not installed, or the experiment's settings have told all, nothing is tried.
    """
    if experiment_named(plan.experiment).computes_sizes:
        return plan
    template = known_templates()[plan.config["task_runner"]["template"]]
    if template.trial and find_spec("torch"):
        module, _, name = template.trial.partition(":")
        if wrong := getattr(import_module(module), name)(plan):
            raise Problems([Problem("", None, wrong, source)])
    return plan
