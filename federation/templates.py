"""The table of templates: the only dotted names that a plan, a config or a federation file may have built.

Each package brings its own part of the table by the entry-point group ``federation.templates``, so that no
import goes up. A table holds names and settings dataclasses, not the classes that they name: it is read where
torch is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Literal, get_args

from federation import settings

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
    settings : type or Mapping[str, type]
        The dataclass of its settings; or one dataclass for each value of the settings key ``experiment``.
    kind : str
        The section of a plan or config in which it may stand, one of `Kind`.
    """

    settings: type | Mapping[str, type]
    kind: Kind

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


@cache
def known_templates() -> dict[str, Template]:
    """Merge the tables of every installed package.

    Returns
    -------
    dict of str to Template
        By dotted name, sorted.
    """
    table: dict[str, Template] = {}
    for point in entry_points(group=GROUP):
        table.update(point.load())
    return dict(sorted(table.items()))
