"""Load, override, check and hash a plan, which is in OpenFL's plan format.

OpenFL imports and calls any dotted name that a plan holds, and follows ``defaults`` and paths. So a plan is
checked here before OpenFL sees it: where it is written, and again where it arrives.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field

from federation import document, schema
from federation.document import Document, Problems, shown
from federation.plan_checks import (
    SETTINGS,
    Checking,
    experiment_settings,
    experiment_to_check,
    forbidden,
    metrics,
    task_groups,
)
from federation.plan_defaults import (
    assign_all_tasks,
    compose_classes,
    fill_enlargement,
    fill_metrics,
    fill_sections,
    read_files,
)
from federation.schema import Component, OfKind
from federation.settings import MOST_TASKS, UNWRITTEN, AggregatorSettings, FederationSettings, NoSettings

TaskName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


@dataclass(frozen=True)
class TaskArguments:
    """Which model a task is done with: the federation's, or the one that the site has just trained."""

    apply: Literal["global", "local"] = "global"


@dataclass(frozen=True)
class Task:
    """What a collaborator is asked to do in a round."""

    function: Literal["train_task", "validate_task"]
    kwargs: TaskArguments = TaskArguments()
    aggregation_type: Annotated[Component, OfKind("aggregation")] | None = None


@dataclass(frozen=True)
class FederationSection:
    """What OpenFL's format has no place for."""

    settings: FederationSettings


@dataclass(frozen=True)
class PlanDocument:
    """The sections of a plan, complete; a file may leave out what `federation.plan_defaults` fills in."""

    aggregator: Annotated[Component, OfKind("aggregator")]
    collaborator: Annotated[Component, OfKind("collaborator")]
    assigner: Annotated[Component, OfKind("assigner")]
    tasks: Annotated[dict[TaskName, Task], Field(min_length=1, max_length=MOST_TASKS)]
    data_loader: Annotated[Component, OfKind("data_loader")]
    task_runner: Annotated[Component, OfKind("task_runner")]
    federation: FederationSection
    straggler_handling_policy: Annotated[Component, OfKind("straggler_handling_policy")] = field(
        default=Component("openfl.component.WaitForAllPolicy", NoSettings())
    )
    compression_pipeline: Annotated[Component, OfKind("compression_pipeline")] = field(
        default=Component("openfl.pipelines.NoCompressionPipeline", NoSettings())
    )


@dataclass(frozen=True)
class CheckedPlan:
    """A plan that was found sound.

    Parameters
    ----------
    name : str
        The file's name without its ending; an experiment's default name.
    config : dict
        Plain data with every default filled in. OpenFL changes what it builds from: give it a deep copy.
    federation : FederationSettings
        Which envoys the plan needs, its seed and torch threads.
    aggregator : AggregatorSettings
        Its rounds, and which model is the best.
    task_runner : object
        The settings dataclass of the plan's experiment; plain data where the experiment was not checked.
    """

    name: str
    config: dict[str, Any]
    federation: FederationSettings
    aggregator: AggregatorSettings
    task_runner: Any

    @property
    def experiment(self) -> str:
        """The name of the plan's experiment."""
        return str(self.config["task_runner"]["settings"]["experiment"])

    @property
    def most_seen(self) -> float:
        """How often a round may see each sample: the experiment's ``epochs``, if it has any, times the enlargement."""
        epochs = self.config["task_runner"]["settings"].get("epochs", 1)
        return float(epochs if isinstance(epochs, int) and epochs > 0 else 1) * self.federation.enlargement

    @cached_property
    def hash(self) -> str:
        """SHA-256 of `to_json`: two plans with the same hash ask for the same experiment."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Write the canonical JSON of `config`, which is what travels."""
        return json.dumps(self.config, sort_keys=True, separators=(",", ":"), allow_nan=False)


def load_plan(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> CheckedPlan:
    """Read a plan file, apply overrides and check it.

    Parameters
    ----------
    path : path-like
        The plan file.
    overrides : sequence of str
        For instance ``task_runner.settings.learning_rate=1e-4``.

    Returns
    -------
    CheckedPlan
        The plan with its defaults filled in.

    Raises
    ------
    InputError
        If there is no such file; as `Problems` with all that is wrong with it.
    """
    content = document.read(path)
    # Before the overrides, so that they find what they change; tasks that they add are assigned like the others.
    fill_sections(content)
    of_assigner = [one for one in overrides if one.lstrip().startswith("assigner")]
    for assignment in overrides:
        if assignment not in of_assigner:
            content.override(assignment)
    assign_all_tasks(content)
    for assignment in of_assigner:
        content.override(assignment)
    read_files(content, Path(path).parent)
    compose_classes(content)
    return _checked(content, Path(path).stem, "checked")


def plan_from_json(text: str, name: str, experiment: Checking = "checked") -> CheckedPlan:
    """Check a plan that came over the network, as strictly as one from a file.

    Parameters
    ----------
    text : str
        Its JSON.
    name : str
        What problems call it.
    experiment : {"checked", "checked_if_known", "opaque"}
        What is done about the settings of its experiment. A director knows those of the experiments that are installed there,
        takes any other as it is, and looks no more at what is in its journal: sites check what they run.

    Raises
    ------
    InputError
        If it is no plan, too large or too deep.
    """
    content = Document(f"the plan of {shown(name)}", None)
    if len(text.encode(errors="replace")) > document.MAX_BYTES:
        content.report((), f"is larger than {document.MAX_BYTES >> 20} MiB")
        raise Problems(content.problems)
    try:
        content.value = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_refuse, parse_float=_finite
        )
        if _depth(content.value) > document.MAX_DEPTH:
            raise RecursionError
    except ValueError as error:
        content.report((), f"not JSON: {error}")
    except RecursionError:
        content.report((), "is nested too deeply")
    if content.problems:
        raise Problems(content.problems)
    return _checked(content, name, experiment)


def _checked(content: Document, name: str, experiment: Checking) -> CheckedPlan:
    fill_sections(content)
    assign_all_tasks(content)
    fill_metrics(content)
    fill_enlargement(content)
    checks: list[schema.Check] = [
        forbidden,
        task_groups,
        metrics,
        partial(experiment_settings, checking=experiment),
    ]
    sections = schema.check(content, PlanDocument, checks)
    config = json.loads(json.dumps(schema.plain(sections), sort_keys=True, allow_nan=False))
    written, defaults = config["federation"]["settings"], FederationSettings.__dataclass_fields__
    for key in UNWRITTEN:
        if written[key] == defaults[key].default:
            del written[key]
    settings: Any = sections.task_runner.settings
    if (known := experiment_to_check(settings["experiment"], experiment)) is not None:
        settings, _ = schema.check_part(content, SETTINGS, known.settings)
        config["task_runner"]["settings"] = json.loads(json.dumps(schema.plain(settings), allow_nan=False))
    return CheckedPlan(name, config, sections.federation.settings, sections.aggregator.settings, settings)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) != len({key for key, _ in pairs}):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is more than a number can be")
    return number


def _depth(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, below), default=0)
