"""Load, override, check and hash a plan, which is in OpenFL's plan format.

OpenFL imports and calls any dotted name that a plan holds, and follows ``defaults`` and paths. So a plan is
checked here before OpenFL sees it: where it is written, and again where it arrives.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field

from federation import document, schema
from federation.document import Document, Problem, Problems, nearest, shown
from federation.schema import Component, OfKind
from federation.settings import AggregatorSettings, FederationSettings, NoSettings
from federation.statistics import known_kinds

TaskName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
FILE = "_file"
CODE = (
    "workspace/learning",
    "workspace/experiments",
    "workspace/settings",
    "shard_descriptors",
    "federation/engine",
)


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
    """The sections of a plan file."""

    aggregator: Annotated[Component, OfKind("aggregator")]
    collaborator: Annotated[Component, OfKind("collaborator")]
    assigner: Annotated[Component, OfKind("assigner")]
    tasks: Annotated[dict[TaskName, Task], Field(min_length=1)]
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
        The settings dataclass of the plan's experiment.
    """

    name: str
    config: dict[str, Any]
    federation: FederationSettings
    aggregator: AggregatorSettings
    task_runner: Any

    @cached_property
    def hash(self) -> str:
        """SHA-256 of `to_json`: two plans with the same hash ask for the same experiment."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Write the canonical JSON of `config`, which is what travels."""
        return json.dumps(self.config, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Environment:
    """What must agree between sites for the same plan to give the same model."""

    version: str
    code_hash: str


def load_plan(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> CheckedPlan:
    """Read a plan file, apply overrides and check it.

    Parameters
    ----------
    path : path-like
        The plan file.
    overrides : iterable of str
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
    for assignment in overrides:
        content.override(assignment)
    _read_files(content, Path(path).parent)
    return _checked(content, Path(path).stem)


def plan_from_json(text: str, name: str) -> CheckedPlan:
    """Check a plan that came over the network, as strictly as one from a file.

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
        content.value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_refuse)
        if _depth(content.value) > document.MAX_DEPTH:
            raise RecursionError
    except ValueError as error:
        content.report((), f"not JSON: {error}")
    except RecursionError:
        content.report((), "is nested too deeply")
    if content.problems:
        raise Problems(content.problems)
    return _checked(content, name)


@cache
def environment() -> Environment:
    """Tell this site's version of the project and the hash of its learning and engine code.

    The code is read, not imported: this needs no torch.
    """
    digest = hashlib.sha256()
    for part in CODE:
        package, *below = part.split("/")
        found = find_spec(package)
        assert found is not None
        assert found.submodule_search_locations
        root = Path(found.submodule_search_locations[0])
        for file in sorted(
            root.joinpath(*below).rglob("*.py"), key=lambda file: file.relative_to(root).as_posix()
        ):
            content = file.read_bytes()
            digest.update(f"{package}/{file.relative_to(root).as_posix()}\n{len(content)}\n".encode())
            digest.update(content)
    return Environment(version("speech-federation"), digest.hexdigest())


def _read_files(content: Document, folder: Path) -> None:
    """Put the lines of a text file in the place of a setting ``<name>_file``, as ``<name>``: they travel with the plan.

    Only here, where the plan's author has written it: what arrives over the network names no file.
    """
    at: document.Path = ("task_runner", "settings")
    settings = content.get(*at)
    for key in [key for key in settings if key.endswith(FILE)] if isinstance(settings, dict) else ():
        name, target = settings.pop(key), key.removesuffix(FILE)
        written, travels = (*at, key), (*at, target)
        if target in settings:
            content.report(written, f"stands beside {target}; leave one of the two out")
            continue
        content.origins[travels] = content.origins.get(written, document.Origin(content.name))
        settings[target] = []
        if not isinstance(name, str):
            content.report(written, f"must be the name of a text file, not {shown(name)}")
            continue
        try:
            with (folder / name).open("rb") as file:
                text = file.read(document.MAX_BYTES + 1).decode()
        except (OSError, UnicodeDecodeError):
            content.report(written, f"{folder / name} cannot be read as a text file in UTF-8")
            continue
        if len(text) > document.MAX_BYTES:
            content.report(written, f"{folder / name} is larger than {document.MAX_BYTES >> 20} MiB")
        settings[target] = text.removesuffix("\n").split("\n")


def _checked(content: Document, name: str) -> CheckedPlan:
    sections = schema.check(content, PlanDocument, [_forbidden, _task_groups, _metrics])
    config = json.loads(json.dumps(schema.plain(sections), sort_keys=True, allow_nan=False))
    return CheckedPlan(
        name,
        config,
        sections.federation.settings,
        sections.aggregator.settings,
        sections.task_runner.settings,
    )


def _forbidden(content: Document) -> Iterator[Problem]:
    """What OpenFL would follow to a file or an address."""
    if "network" in (content.value if isinstance(content.value, dict) else ()):
        yield content.problem(("network",), "belongs to the director's config; a plan names no address")

    def walk(value: Any, path: document.Path) -> Iterator[Problem]:
        if isinstance(value, Mapping):
            for key, item in value.items():
                at = (*path, key)
                if key == "defaults":
                    yield content.problem(
                        at, "is not accepted, it would read another file; write the settings out"
                    )
                elif key.endswith("_path"):
                    yield content.problem(at, "is not accepted; a plan names no path")
                yield from walk(item, at)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from walk(item, (*path, index))

    yield from walk(content.value, ())


def _task_groups(content: Document) -> Iterator[Problem]:
    """Groups must name tasks that there are, and together be the whole cohort."""
    tasks = content.get("tasks")
    groups = content.get("assigner", "settings", "task_groups")
    if not isinstance(tasks, Mapping) or not isinstance(groups, list):
        return
    at: document.Path = ("assigner", "settings", "task_groups")
    for number in range(len(groups)):
        names = content.get(*at, number, "tasks")
        for index, task in enumerate(names if isinstance(names, list) else ()):
            if isinstance(task, str) and task not in tasks:
                message = f"there is no task {shown(task)} under tasks{nearest(task, map(str, tasks))}"
                yield content.problem((*at, number, "tasks", index), message)
    shares = [content.get(*at, number, "percentage") for number in range(len(groups))]
    sound = all(isinstance(share, int | float) and 0 < share <= 1 for share in shares)
    if shares and sound and abs(sum(shares) - 1) > 1e-6:
        yield content.problem(at, f"the percentages of the groups must sum to 1, not {sum(shares):g}")


def _metrics(content: Document) -> Iterator[Problem]:
    """The kind of metrics is known, has the classes that it needs, and has the one that the best model is chosen by."""
    at: document.Path = ("federation", "settings")
    settings = content.get(*at)
    if not isinstance(settings, Mapping):
        return
    name, classes = settings.get("metrics", "classification"), settings.get("classes", [])
    if not isinstance(name, str) or not isinstance(classes, list):
        return
    if name not in known_kinds():
        message = f"there is no kind of metrics {shown(name)}{nearest(name, known_kinds())}"
        yield content.problem((*at, "metrics"), message)
        return
    kind = known_kinds()[name]
    if kind.needs_classes and not classes:
        missing = "must have at least 1 item, not 0" if "classes" in settings else "is missing"
        yield content.problem((*at, "classes"), missing)
    metric = content.get("aggregator", "settings", "best_metric")
    metric = "accuracy" if metric is None else metric
    known = kind.names(list(map(str, classes)))
    if isinstance(metric, str) and metric not in known:
        message = f"there is no metric {shown(metric)}{nearest(metric, known)}"
        yield content.problem(("aggregator", "settings", "best_metric"), message)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) != len({key for key, _ in pairs}):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _depth(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, below), default=0)
