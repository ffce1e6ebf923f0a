"""The experiments that installed packages bring, by the entry-point group ``federation.experiments``; ours come so, too.

An entry's name is what a plan's ``task_runner.settings.experiment`` says. Nothing of this needs torch.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from federation import plugins
from federation.document import nearest, shown
from federation.errors import InputError

GROUP = "federation.experiments"
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Experiment:
    """Where an experiment's parts are.

    Parameters
    ----------
    settings : type
        The dataclass of what a plan's task runner may set. It has at least the fields ``experiment``, whose only value is the
        entry's name, and ``checkpoint``, which names the model to start from; it is imported where torch is not installed.
    recipe : str
        ``module:class`` of its ``workspace.learning.recipe.Recipe``.
    architectures : tuple of str
        What ``config.json`` of its exported models says, by which a model folder is known again.
    statistics : str
        The kind of statistics that sites send, one of ``federation.statistics``.
    enlargement : callable
        How many samples an epoch makes of each one, given the settings: a site may say that it has used so many times what it
        has announced, times the ``epochs`` of the settings if they have such a field, and no more.
    computes_sizes : bool
        Whether the settings refuse by themselves, without torch, what makes no model together. Of an experiment whose settings
        do not, ``fed plan check`` builds the model where torch is installed.
    """

    settings: type[Any]
    recipe: str
    architectures: tuple[str, ...]
    statistics: str = "classification"
    enlargement: Callable[[Any], float] = lambda settings: 1.0
    computes_sizes: bool = False


def experiment_names() -> list[str]:
    """Return the names of the installed experiments; none of them is imported."""
    return plugins.names(GROUP)


@cache
def experiment_named(name: str) -> Experiment:
    """Return an installed experiment.

    Raises
    ------
    InputError
        In one line: if there is none of that name here, two packages claim it, or its package cannot be used.
    """
    if name not in experiment_names():
        raise InputError(f"there is no experiment {shown(name)} here{nearest(name, experiment_names())}")
    if not NAME.fullmatch(name):
        raise InputError(f"{GROUP}: {name!r} must begin with a-z and go on with up to 62 of a-z, 0-9 and _")
    experiment = plugins.load(GROUP, name, Experiment)
    if (wrong := _wrong_settings(experiment.settings)) is not None:
        raise InputError(f"{plugins.shown(plugins.entry(GROUP, name))}: its settings {wrong}")
    return experiment


def _wrong_settings(settings: type[Any]) -> str | None:
    if not isinstance(settings, type) or not dataclasses.is_dataclass(settings):
        return "must be a dataclass"
    fields = {field.name for field in dataclasses.fields(settings)}
    if missing := {"experiment", "checkpoint"} - fields:
        return f"have no field {min(missing)!r}"
    try:
        TypeAdapter(settings).json_schema()
    except Exception as error:  # whatever an annotation that cannot be checked makes of it
        return f"cannot be checked ({' '.join(str(error).split())[:200]})"
    return None


def usable_experiments() -> dict[str, Experiment]:
    """Return the installed experiments that can be used; `broken_experiments` says what is wrong with the others."""
    return {name: experiment for name, experiment in _looked_at() if isinstance(experiment, Experiment)}


def broken_experiments() -> list[str]:
    """Return one line for each installed experiment that cannot be used."""
    return [str(problem) for _, problem in _looked_at() if isinstance(problem, InputError)]


@cache
def _looked_at() -> tuple[tuple[str, Experiment | InputError], ...]:
    found: list[tuple[str, Experiment | InputError]] = []
    for name in experiment_names():
        try:
            found.append((name, experiment_named(name)))
        except InputError as error:
            found.append((name, error))
    return tuple(found)
