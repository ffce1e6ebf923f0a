"""The learning code's part of the table of templates; an entry point of ``federation.templates`` names it. Needs no torch."""

from __future__ import annotations

from federation.settings import NoSettings
from federation.templates import Template

LEARNING: dict[str, Template] = {
    "workspace.learning.data_loader.ShardDataLoader": Template(NoSettings, "data_loader"),
    "workspace.learning.task_runner.FineTuning": Template(
        None, "task_runner", trial="workspace.learning.trial:cannot_be_built"
    ),
}
