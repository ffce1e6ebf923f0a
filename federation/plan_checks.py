"""What types cannot say of a plan: each check yields the problems that it finds, in a plan that need not be sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from federation import document, schema
from federation.document import Document, Problem, nearest, shown
from federation.errors import InputError
from federation.experiments import NAME, Experiment, experiment_named
from federation.statistics import kind_named

Checking = Literal["checked", "checked_if_known", "opaque"]
LOWER_IS_BETTER, HIGHER_IS_BETTER = {"loss", "perplexity"}, {"accuracy", "macro_f1", "bleu"}
SETTINGS: document.Path = ("task_runner", "settings")


def forbidden(content: Document) -> Iterator[Problem]:
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


def task_groups(content: Document) -> Iterator[Problem]:
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


def metrics(content: Document) -> Iterator[Problem]:
    """The kind of metrics is known, has the classes that it needs, and has the one that the best model is chosen by."""
    at: document.Path = ("federation", "settings")
    settings = content.get(*at)
    if not isinstance(settings, Mapping):
        return
    name, classes = settings.get("metrics", "classification"), settings.get("classes", [])
    if not isinstance(name, str) or not isinstance(classes, list):
        return
    try:
        kind = kind_named(name)
    except InputError as error:
        yield content.problem((*at, "metrics"), str(error))
        return
    if kind.needs_classes and not classes:
        missing = "must have at least 1 item, not 0" if "classes" in settings else "is missing"
        yield content.problem((*at, "classes"), missing)
    metric = content.get("aggregator", "settings", "best_metric")
    metric = "accuracy" if metric is None else metric
    known = kind.names(list(map(str, classes)))
    if isinstance(metric, str) and metric not in known:
        message = f"there is no metric {shown(metric)}{nearest(metric, known)}"
        yield content.problem(("aggregator", "settings", "best_metric"), message)


def direction(content: Document) -> Iterator[Problem]:
    """The best model must not be the worst one; asked where a plan is written, since one that runs goes on as it is."""
    at: document.Path = ("aggregator", "settings")
    metric = str(content.get(*at, "best_metric") or "accuracy")
    said = content.get(*at, "best_direction") or "maximize"
    wanted = "minimize" if metric in LOWER_IS_BETTER else "maximize"
    known = metric in LOWER_IS_BETTER or metric in HIGHER_IS_BETTER or metric.startswith("recall/")
    if known and said in ("maximize", "minimize") and said != wanted:
        message = f"must be {wanted} with best_metric: {metric}, or the worst model is taken for the best"
        yield content.problem((*at, "best_direction"), message)


def experiment_settings(content: Document, checking: Checking) -> Iterator[Problem]:
    """The experiment is one that is installed, its settings are what it takes, and it sends the plan's kind of statistics."""
    settings = content.get(*SETTINGS)
    if not isinstance(settings, Mapping):
        return
    name, at = settings.get("experiment"), (*SETTINGS, "experiment")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        rule = "must be a name of a-z, 0-9 and _, not"
        yield content.problem(at, f"{rule} {shown(name)}" if "experiment" in settings else "is missing")
        return
    try:
        experiment = experiment_to_check(name, checking)
    except InputError as error:
        yield content.problem(at, str(error))
        return
    if experiment is None:
        return
    yield from schema.check_part(content, SETTINGS, experiment.settings)[1]
    metrics_at: document.Path = ("federation", "settings", "metrics")
    if isinstance(kind := content.get(*metrics_at), str) and kind != experiment.statistics:
        message = (
            f"the experiment {name} sends statistics of the kind {experiment.statistics}, not {shown(kind)}"
        )
        yield content.problem(metrics_at, message)
    enlargement_at: document.Path = ("federation", "settings", "enlargement")
    said, found = content.get(*enlargement_at), enlargement_of(content, experiment)
    if isinstance(said, int | float) and found is not None and said != found:
        message = f"must be {found:g}, which the experiment makes of each sample; leave it out"
        yield content.problem(enlargement_at, message)


def enlargement_of(content: Document, experiment: Experiment) -> float | None:
    """Return how many samples an epoch of a plan's experiment makes of each one; None if its settings are not sound."""
    settings, problems = schema.check_part(content, SETTINGS, experiment.settings)
    return None if problems else float(experiment.enlargement(settings))


def experiment_to_check(name: str, checking: Checking) -> Experiment | None:
    """Return the experiment by which a plan's settings are checked; None if they are taken as they are.

    Raises
    ------
    InputError
        If it must be checked, and cannot be used here.
    """
    if checking == "opaque":
        return None
    try:
        return experiment_named(name)
    except InputError:
        if checking == "checked":
            raise
        return None
