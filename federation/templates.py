"""The table of templates: the only dotted names that a plan, a config or a federation file may have built.

Each package brings its own part of the table by the entry-point group ``federation.templates``, so that no
import goes up. A table holds names and settings dataclasses, not the classes that they name: it is read where
torch is not installed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Literal, get_args

from federation import plugins, settings
from federation.errors import InputError

logger = logging.getLogger(__name__)

GROUP = "federation.templates"

Kind = Literal[
    "aggregator",
    "collaborator",
    "assigner",
    "straggler_handling_policy",
    "aggregation",
    "compression_pipeline",
    "data_loader",
    "task_runner",
    "shard_descriptor",
]


@dataclass(frozen=True)
class Template:
    """One buildable class: what it may be used for, and what its settings must look like.

    Parameters
    ----------
    settings : type or None
        The dataclass of its settings; None for those of the experiment that its setting ``experiment`` names
        (`federation.experiments`).
    kind : str
        The section of a plan or config in which it may stand, one of `Kind`.
    aliases : tuple of str
        Dotted names that it had in earlier versions; they stay valid.
    trial : str or None
        Of a task runner: ``module:function`` that says, given a plan, why its model cannot be built (None if it can). It is
        called where torch is installed (`federation.plan_building`).
    """

    settings: type | None
    kind: Kind
    aliases: tuple[str, ...] = ()
    trial: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"no such kind of template: {self.kind}; one of {', '.join(get_args(Kind))}")


ENGINE: dict[str, Template] = {
    "federation.engine.aggregator.Aggregator": Template(settings.AggregatorSettings, "aggregator"),
    "federation.engine.collaborator.Collaborator": Template(settings.NoSettings, "collaborator"),
    "federation.engine.assigner.CohortAssigner": Template(settings.CohortAssignerSettings, "assigner"),
    "openfl.component.WaitForAllPolicy": Template(settings.NoSettings, "straggler_handling_policy"),
    "openfl.component.CutoffTimePolicy": Template(settings.CutoffTimeSettings, "straggler_handling_policy"),
    "openfl.component.PercentagePolicy": Template(settings.PercentageSettings, "straggler_handling_policy"),
    "openfl.interface.aggregation_functions.WeightedAverage": Template(settings.NoSettings, "aggregation"),
    "openfl.interface.aggregation_functions.Median": Template(settings.NoSettings, "aggregation"),
    "openfl.interface.aggregation_functions.GeometricMedian": Template(settings.NoSettings, "aggregation"),
    "openfl.pipelines.NoCompressionPipeline": Template(settings.NoSettings, "compression_pipeline"),
}


@dataclass(frozen=True)
class Tables:
    """The tables of every installed package, merged.

    Parameters
    ----------
    templates : dict of str to Template
        By dotted name, sorted.
    aliases : dict of str to str
        Earlier dotted names, and those that they have now.
    packages : dict of str to str
        The distribution that brings each template.
    problems : tuple of str
        One line for each table that cannot be used, and for each name that two packages claim.
    """

    templates: dict[str, Template]
    aliases: dict[str, str]
    packages: dict[str, str]
    problems: tuple[str, ...]


@cache
def tables() -> Tables:
    """Merge the tables of every installed package; one that cannot be used harms no other."""
    templates: dict[str, Template] = {}
    owners: dict[str, set[str]] = {}
    problems: list[str] = []
    for table in plugins.names(GROUP):
        try:
            brought = plugins.load(GROUP, table, dict)
        except InputError as error:
            problems.append(str(error))
            continue
        owner = plugins.package_of(plugins.entry(GROUP, table))
        for name, template in brought.items():
            for claimed in (name, *template.aliases):
                owners.setdefault(claimed, set()).add(owner)
            templates[name] = template
    contested = {name for name, packages in owners.items() if len(packages) > 1}
    problems += [
        f"{GROUP}: {name} is claimed by two packages, {' and '.join(sorted(owners[name]))}; uninstall one of them"
        for name in sorted(contested)
    ]
    known = {name: template for name, template in sorted(templates.items()) if name not in contested}
    aliases = {
        alias: name
        for name, template in known.items()
        for alias in template.aliases
        if alias not in contested
    }
    packages = {name: next(iter(owners[name])) for name in known}
    return Tables(known, aliases, packages, tuple(problems))


def known_templates() -> dict[str, Template]:
    """Return the templates that may be named, by dotted name, sorted."""
    return tables().templates


def package_of(name: str) -> tuple[str, str]:
    """Return name and version of the distribution that brings a template."""
    package = tables().packages[present_name(name)]
    return package, version(package)


_met: dict[str, str] = {}


def present_name(name: str) -> str:
    """Return the dotted name that a template has now; the log says once which one an earlier name stands for."""
    present = tables().aliases.get(name)
    if present is None:
        return name
    if name not in _met:
        _met[name] = present
        _say(name, present)
    return present


def say_earlier_names() -> None:
    """Say in the log which earlier names were met so far: a service's log opens after its config was read."""
    for name, present in _met.items():
        _say(name, present)


def _say(earlier: str, present: str) -> None:
    logger.warning("%s is called %s now; the earlier name goes on working", earlier, present)
