"""A plan need only say what is its own: the rest has defaults, and short and long form are one plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from federation import document
from federation.document import Problems
from federation.plan import CheckedPlan, load_plan, plan_from_json
from tests.checkout import PLANS

SHORT = """\
aggregator:
  settings: {rounds_to_train: 3}
task_runner:
  settings: {experiment: keyword_spotting, learning_rate: 1e-3}
federation:
  settings: {envoys: 3, dataset: speech_commands, classes: [yes, no], seed: 7}
"""
LONG = """\
aggregator:
  template: federation.engine.aggregator.Aggregator
  settings: {rounds_to_train: 3, best_metric: accuracy, best_direction: maximize}
collaborator: {template: federation.engine.collaborator.Collaborator, settings: {}}
assigner:
  template: federation.engine.assigner.CohortAssigner
  settings:
    task_groups:
      - name: learning
        percentage: 1.0
        tasks: [aggregated_model_validation, train, locally_tuned_model_validation]
tasks:
  aggregated_model_validation: {function: validate_task, kwargs: {apply: global}}
  train: {function: train_task}
  locally_tuned_model_validation: {function: validate_task, kwargs: {apply: local}}
data_loader: {template: workspace.learning.data_loader.ShardDataLoader, settings: {}}
straggler_handling_policy: {template: openfl.component.WaitForAllPolicy}
compression_pipeline: {template: openfl.pipelines.NoCompressionPipeline}
task_runner:
  template: workspace.learning.task_runner.FineTuning
  settings: {experiment: keyword_spotting, learning_rate: 1e-3}
federation:
  settings: {envoys: 3, dataset: speech_commands, classes: [yes, no], seed: 7, metrics: classification}
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(text: str, *overrides: str) -> CheckedPlan:
        (tmp_path / "words.yaml").write_text(text)
        return load_plan(tmp_path / "words.yaml", overrides)

    return load


def test_short_and_long_form_have_one_canonical_json_and_one_hash(load: Any) -> None:
    assert load(SHORT).to_json() == load(LONG).to_json()
    assert load(SHORT).hash == load(LONG).hash
    assert load(SHORT) == load(LONG)


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_plan_is_short_and_its_whole_is_the_same_plan(load: Any, path: Path) -> None:
    written = yaml.safe_load(path.read_text())
    assert not written.keys() & {"collaborator", "assigner", "tasks", "data_loader"}
    plan = load_plan(path)
    assert {"collaborator", "assigner", "tasks", "data_loader"} <= plan.config.keys(), "it is shown whole"
    assert load(document.dump(plan.config)).hash == plan.hash


def test_a_short_plan_may_come_over_the_network(load: Any) -> None:
    text = json.dumps(document.parse(SHORT, "words").value)
    assert plan_from_json(text, "words").hash == load(SHORT).hash


@pytest.mark.parametrize(
    "override",
    [
        "tasks.train.aggregation_type={template: openfl.interface.aggregation_functions.Median}",
        "tasks.aggregated_model_validation.kwargs.apply=local",
        "assigner.settings.task_groups.0.tasks.2=train",
        "assigner.settings.task_groups.0.tasks=[aggregated_model_validation, train]",
        "aggregator={settings: {rounds_to_train: 5}}",
        "task_runner.settings.epochs=2",
    ],
)
def test_an_override_finds_in_a_short_plan_what_it_would_in_a_long_one(load: Any, override: str) -> None:
    assert load(SHORT, override).hash == load(LONG, override).hash != load(LONG).hash


def test_tasks_of_ones_own_are_all_assigned_in_the_order_in_which_they_are_written(load: Any) -> None:
    tasks = "tasks:\n  learn: {function: train_task}\n  check: {function: validate_task}\n"
    config = load(SHORT + tasks).config
    [group] = config["assigner"]["settings"]["task_groups"]
    assert group["tasks"] == ["learn", "check"]
    [group] = load(SHORT, "tasks.more={function: validate_task}").config["assigner"]["settings"][
        "task_groups"
    ]
    assert group["tasks"][-1] == "more", "also those of an override"


def test_a_section_that_is_there_needs_only_its_settings(load: Any) -> None:
    groups = "assigner: {settings: {task_groups: [{name: all, percentage: 1.0, tasks: [train]}]}}\n"
    assigner = load(SHORT + groups).config["assigner"]
    assert assigner["template"] == "federation.engine.assigner.CohortAssigner"
    assert assigner["settings"]["task_groups"][0]["name"] == "all"


def test_the_kind_of_metrics_is_that_of_the_experiment(load: Any) -> None:
    plan = load_plan(PLANS / "translation_tiny.yaml")
    assert plan.federation.metrics == "translation"
    with pytest.raises(
        Problems, match="keyword_spotting sends statistics of the kind classification, not 'translation'"
    ):
        load(SHORT, "federation.settings.metrics=translation", "aggregator.settings.best_metric=loss")


@pytest.mark.parametrize(
    "text", ["[]", "3", "", "tasks: 3\n", "tasks: [train]\n", "assigner: no\n", "aggregator: 1\n"]
)
def test_what_is_no_plan_is_refused_and_nothing_is_made_of_it(load: Any, text: str) -> None:
    with pytest.raises(Problems):
        load(text)
