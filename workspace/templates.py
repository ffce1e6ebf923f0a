"""The learning code's part of the table of templates; an entry point of ``federation.templates`` names it."""

from __future__ import annotations

from federation.settings import NoSettings
from federation.templates import Template
from workspace.settings.keyword_spotting import KeywordSpottingSettings
from workspace.settings.training import TrainingSettings

EXPERIMENTS: dict[str, type[TrainingSettings]] = {"keyword_spotting": KeywordSpottingSettings}

LEARNING: dict[str, Template] = {
    "workspace.learning.data_loader.ShardDataLoader": Template(NoSettings, "data_loader"),
    "workspace.learning.task_runner.FineTuning": Template(EXPERIMENTS, "task_runner"),
}
