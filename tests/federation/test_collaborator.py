"""The collaborator: what it does again when the process that did it has died."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from federation.engine.aggregator import Aggregator
from federation.engine.build import Site, build_aggregator, build_collaborator
from federation.engine.client import DirectClient
from federation.engine.results import TaskOutput
from federation.federation_file import open_shard
from federation.plan import CheckedPlan, load_plan
from federation.schema import Component
from federation.tensors import Tensors, digest
from tests.deployment import TINY_PLAN, write_yaml
from tests.image_data import CLASSES, make_image_folder, shard_entry
from workspace.initial_exchange import initial_exchange
from workspace.simulation.run import FileRecord


class Died(BaseException):
    """What a SIGKILL is to the one who gets it."""


class DiesAfter(DirectClient):
    """A client whose process dies as soon as a task's result has arrived."""

    def __init__(self, aggregator: Any, name: str, task: str) -> None:
        super().__init__(aggregator, name)
        self._task = task

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: TaskOutput
    ) -> bool:
        super().send_local_task_results(round_number, task_name, data_size, named_tensors)
        if task_name == self._task:
            raise Died
        return True


@pytest.fixture
def plan(tmp_path: Path) -> CheckedPlan:
    plan = copy.deepcopy(TINY_PLAN)
    plan["task_runner"]["settings"] = {
        "experiment": "image_classification",
        "batch_size": 8,
        "image_size": 16,
        "batch_norm": "local",
        "model": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"},
    }
    plan["federation"]["settings"] |= {"envoys": 1, "dataset": "colours", "classes": list(CLASSES)}
    return load_plan(write_yaml(tmp_path / "plan.yaml", plan))


def run(plan: CheckedPlan, shard: Any, state: Path, dies_after: str | None = None) -> tuple[str, list[Any]]:
    """Run the plan at one site, whose process dies once if asked; return the model's name and the results' metrics."""
    initial = initial_exchange(plan, {})
    results: list[Any] = []

    class Notes(FileRecord):
        def result(self, result: Any) -> None:
            results.append((result.round_number, result.task_name, dict(result.metrics)))

        def event(self, kind: str, **body: Any) -> None:
            pass

    record = Notes(initial.tensors, None, None)  # type: ignore[arg-type]
    aggregator: Aggregator = build_aggregator(plan, ["north"], initial.tensors, record)
    aggregator.go_on()
    site = Site("north", state=str(state), frozen_fingerprint=initial.frozen_fingerprint)
    if dies_after is not None:
        with pytest.raises(Died):
            build_collaborator(plan, shard, DiesAfter(aggregator, "north", dies_after), site).run()
    build_collaborator(plan, shard, DirectClient(aggregator, "north"), site).run()
    assert aggregator.finished
    last: Tensors = record.last
    return digest(last), results


@pytest.mark.parametrize("task", ["aggregated_model_validation", "train", "locally_tuned_model_validation"])
def test_a_process_that_dies_between_two_tasks_of_a_round_leaves_no_trace(
    plan: CheckedPlan, tmp_path: Path, task: str
) -> None:
    """The next one finds only the rest of the round to do; what that starts from died with the first, and is made again."""
    entry = shard_entry(make_image_folder(tmp_path / "data"), 0, 1)
    shard = open_shard(Component(entry["template"], entry["settings"]))
    undisturbed = run(plan, shard, tmp_path / "undisturbed")
    assert run(plan, shard, tmp_path / "disturbed", dies_after=task) == undisturbed
