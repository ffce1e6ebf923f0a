"""What a plan need not say: the sections that all plans share, and the contents of the text files that it names.

Filled in before a plan is checked, so that the short form and OpenFL's full one have one canonical JSON, and one hash.
"""

from __future__ import annotations

import copy
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any

from federation import document
from federation.document import Document, shown
from federation.errors import InputError
from federation.experiments import experiment_named
from federation.plan_checks import SETTINGS, enlargement_of
from federation.text_files import read_lines

FILE = "_file"

TEMPLATES = {
    "aggregator": "federation.engine.aggregator.Aggregator",
    "assigner": "federation.engine.assigner.CohortAssigner",
    "collaborator": "federation.engine.collaborator.Collaborator",
    "data_loader": "workspace.learning.data_loader.ShardDataLoader",
    "task_runner": "workspace.learning.task_runner.FineTuning",
}
"""Of sections that name none."""

SECTIONS: dict[str, Any] = {
    "collaborator": {},
    "data_loader": {},
    "tasks": {
        "aggregated_model_validation": {"function": "validate_task", "kwargs": {"apply": "global"}},
        "train": {"function": "train_task"},
        "locally_tuned_model_validation": {"function": "validate_task", "kwargs": {"apply": "local"}},
    },
}
"""Of plans that leave them out."""


def fill_sections(content: Document) -> None:
    """Fill in the sections and templates that a plan leaves out, except for its assigner."""
    if not isinstance(content.value, dict):
        return
    for section, default in SECTIONS.items():
        content.value.setdefault(section, copy.deepcopy(default))
    for section, template in TEMPLATES.items():
        if isinstance(content.value.get(section), dict):
            content.value[section].setdefault("template", template)


def assign_all_tasks(content: Document) -> None:
    """Assign every task of a plan without an assigner to the whole cohort, in the order in which they are written."""
    if isinstance(content.value, dict) and isinstance(tasks := content.get("tasks"), dict):
        group = {"name": "learning", "percentage": 1.0, "tasks": list(tasks)}
        default = {"template": TEMPLATES["assigner"], "settings": {"task_groups": [group]}}
        content.value.setdefault("assigner", default)


def fill_metrics(content: Document) -> None:
    """Take the kind of metrics from the experiment, where the plan names none and the experiment is installed."""
    settings, name = content.get("federation", "settings"), content.get(*SETTINGS, "experiment")
    if isinstance(settings, dict) and "metrics" not in settings and isinstance(name, str):
        with suppress(InputError):  # said where the experiment is checked
            settings["metrics"] = experiment_named(name).statistics


def fill_enlargement(content: Document) -> None:
    """Take from the experiment how many samples an epoch makes of each one, where the plan does not say it."""
    settings, name = content.get("federation", "settings"), content.get(*SETTINGS, "experiment")
    if isinstance(settings, dict) and "enlargement" not in settings and isinstance(name, str):
        with suppress(InputError):  # said where the experiment is checked
            settings["enlargement"] = enlargement_of(content, experiment_named(name)) or 1.0


def compose_classes(content: Document) -> None:
    """Write the names of classes in NFC, as shards do: some editors write them in NFD, which looks the same."""
    settings = content.get("federation", "settings")
    if isinstance(settings, dict) and isinstance(settings.get("classes"), list):
        settings["classes"] = [
            unicodedata.normalize("NFC", name) if isinstance(name, str) else name
            for name in settings["classes"]
        ]


def read_files(content: Document, folder: Path) -> None:
    """Put the lines of a text file in the place of a setting ``<name>_file``, as ``<name>``: they travel with the plan.

    Only here, where the plan's author has written it: what arrives over the network names no file.
    """
    settings = content.get(*SETTINGS)
    for key in [key for key in settings if key.endswith(FILE)] if isinstance(settings, dict) else ():
        name, target = settings.pop(key), key.removesuffix(FILE)
        written, travels = (*SETTINGS, key), (*SETTINGS, target)
        if target in settings:
            content.report(written, f"stands beside {target}; leave one of the two out")
            continue
        content.origins[travels] = content.origins.get(written, document.Origin(content.name))
        settings[target] = []
        if not isinstance(name, str):
            content.report(written, f"must be the name of a text file, not {shown(name)}")
            continue
        try:
            settings[target] = read_lines(folder / name, document.MAX_BYTES)
        except InputError as error:
            content.report(written, str(error))
