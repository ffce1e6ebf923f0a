"""The collaborator: what it does again when the process that did it has died."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from federation.document import Problems
from federation.engine.aggregator import Aggregator
from federation.engine.build import Site, build_aggregator, build_collaborator
from federation.engine.client import DirectClient
from federation.engine.results import TaskOutput
from federation.errors import Diverged
from federation.federation_file import open_shard
from federation.plan import CheckedPlan, load_plan, plan_from_json
from federation.schema import Component
from federation.tensors import Tensors, digest
from tests.deployment import TINY_PLAN, write_yaml
from tests.image_data import CLASSES, make_image_folder, shard_entry
from workspace.initial_exchange import initial_exchange
from workspace.simulation.record import RunRecord
from workspace.simulation.snapshot import Snapshot, Snapshots


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


def plan_with_personal_layers(envoys: int) -> dict[str, Any]:
    """A plan whose sites keep a BatchNorm of their own."""
    plan = copy.deepcopy(TINY_PLAN)
    plan["task_runner"]["settings"] = {
        "experiment": "image_classification",
        "batch_size": 8,
        "image_size": 16,
        "batch_norm": "local",
        "model": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"},
    }
    plan["federation"]["settings"] |= {"envoys": envoys, "dataset": "colours", "classes": list(CLASSES)}
    return plan


@pytest.fixture
def plan(tmp_path: Path) -> CheckedPlan:
    return load_plan(write_yaml(tmp_path / "plan.yaml", plan_with_personal_layers(1)))


def new_record(folder: Path, tensors: Tensors, kind: type[RunRecord] = RunRecord) -> RunRecord:
    """Return the record of a simulation in a folder."""
    folder.mkdir()
    return kind(folder / "metrics.jsonl", Snapshots(folder / "unfinished"), Snapshot(), tensors, None)


def last_model(folder: Path, record: RunRecord) -> str:
    """Return the name of the model that a simulation in a folder has come to."""
    return digest(Snapshots(folder / "unfinished").models(record.snapshot)[0])


def run(plan: CheckedPlan, shard: Any, state: Path, dies_after: str | None = None) -> tuple[str, list[Any]]:
    """Run the plan at one site, whose process dies once if asked; return the model's name and the results' metrics."""
    initial = initial_exchange(plan, {})
    results: list[Any] = []

    class Notes(RunRecord):
        def result(self, result: Any) -> None:
            results.append((result.round_number, result.task_name, dict(result.metrics)))

        def event(self, kind: str, **body: Any) -> None:
            pass

    folder = state.with_name(f"{state.name}_record")
    record = new_record(folder, initial.tensors, Notes)
    aggregator: Aggregator = build_aggregator(plan, ["north"], initial.tensors, record)
    aggregator.go_on()
    site = Site("north", state=str(state), frozen_fingerprint=initial.frozen_fingerprint)
    if dies_after is not None:
        with pytest.raises(Died):
            build_collaborator(plan, shard, DiesAfter(aggregator, "north", dies_after), site).run()
    build_collaborator(plan, shard, DirectClient(aggregator, "north"), site).run()
    assert aggregator.finished
    return last_model(folder, record), results


@pytest.mark.parametrize("task", ["aggregated_model_validation", "train", "locally_tuned_model_validation"])
def test_a_process_that_dies_between_two_tasks_of_a_round_leaves_no_trace(
    plan: CheckedPlan, tmp_path: Path, task: str
) -> None:
    """The next one finds only the rest of the round to do; what that starts from died with the first, and is made again."""
    entry = shard_entry(make_image_folder(tmp_path / "data"), 0, 1)
    shard = open_shard(Component(entry["template"], entry["settings"]))
    undisturbed = run(plan, shard, tmp_path / "undisturbed")
    assert run(plan, shard, tmp_path / "disturbed", dies_after=task) == undisturbed


class IsLate(DirectClient):
    """A client whose last result of round 1 comes when the round has been closed without it."""

    def send_local_task_results(
        self, round_number: int, task_name: str, data_size: int, named_tensors: TaskOutput
    ) -> bool:
        if (round_number, task_name) == (1, "locally_tuned_model_validation"):
            self._aggregator._straggler_cutoff_time_elapsed(round_number, 0)
        return super().send_local_task_results(round_number, task_name, data_size, named_tensors)


def run_late(
    plan: CheckedPlan, shards: dict[str, Any], folder: Path | None, trains: bool, restarts: bool = False
) -> str:
    """Run the plan at two sites, of which south does not count in round 1; return the model's name."""
    initial = initial_exchange(plan, {})
    with TemporaryDirectory() as home:
        own = Path(home) / "record"
        record = new_record(own, initial.tensors)
        aggregator: Aggregator = build_aggregator(plan, ["north", "south"], initial.tensors, record)
        aggregator.go_on()
        aggregator.start_clocks()
        clients = {"north": DirectClient(aggregator, "north"), "south": IsLate(aggregator, "south")}

        def collaborator(name: str) -> Any:
            state = None if folder is None else str(folder / name)
            site = Site(name, state=state, frozen_fingerprint=initial.frozen_fingerprint)
            return build_collaborator(plan, shards[name], clients[name], site)

        north, south = collaborator("north"), collaborator("south")
        while not aggregator.finished:
            number = aggregator.round_number
            north.run_once()
            if trains or number != 1:
                south.run_once()
            else:
                aggregator._straggler_cutoff_time_elapsed(number, 0)
            if restarts and number == 1:
                south = collaborator("south")
            assert aggregator.round_number > number
            assert aggregator.counted_of("south") == (0 if number == 1 else number)
        return last_model(own, record)


def test_a_round_that_did_not_count_leaves_nothing_behind_at_the_site(tmp_path: Path) -> None:
    """What it trained there is the same as if it had not been there at all, to the last bit of its own layers."""
    content = plan_with_personal_layers(2)
    content["aggregator"]["settings"]["rounds_to_train"] = 3
    content["straggler_handling_policy"] = {
        "template": "openfl.component.CutoffTimePolicy",
        "settings": {"straggler_cutoff_time": 3600, "minimum_reporting": 1},
    }
    plan = load_plan(write_yaml(tmp_path / "plan.yaml", content))
    root = make_image_folder(tmp_path / "data")
    entries = {name: shard_entry(root, rank, 2) for rank, name in enumerate(("north", "south"))}
    shards = {name: open_shard(Component(e["template"], e["settings"])) for name, e in entries.items()}
    away = run_late(plan, shards, tmp_path / "away", trains=False)
    assert run_late(plan, shards, tmp_path / "late", trains=True) == away
    assert run_late(plan, shards, tmp_path / "restarted", trains=True, restarts=True) == away
    assert run_late(plan, shards, None, trains=True) == away, "in a simulation as well"


def test_a_model_that_has_no_finite_loss_here_is_said_to_have_diverged_before_its_sums_are_sent(
    plan: CheckedPlan, tmp_path: Path
) -> None:
    shard = open_shard(Component(**shard_entry(make_image_folder(tmp_path / "images"), 0, 1)))
    initial = initial_exchange(plan, {})
    poisoned = {name: np.full_like(value, 3e38) for name, value in initial.tensors.items()}
    record = new_record(tmp_path / "record", poisoned)
    aggregator = build_aggregator(plan, ["north"], poisoned, record)
    aggregator.go_on()
    site = Site("north", state=str(tmp_path / "state"))
    collaborator = build_collaborator(plan, shard, DirectClient(aggregator, "north"), site)
    with pytest.raises(
        Diverged, match="round 0: aggregated_model_validation gives a loss_sum that is not finite"
    ):
        collaborator.run()
    assert not aggregator.collaborator_tasks_results


def test_the_plan_says_how_many_samples_an_epoch_makes_of_each_and_a_wrong_number_is_refused(
    tmp_path: Path,
) -> None:
    written = plan_with_personal_layers(1)
    written["task_runner"]["settings"] |= {"augmentation": {"policy": "octuple"}, "epochs": 3}
    plan = load_plan(write_yaml(tmp_path / "plan.yaml", written))
    assert plan.config["federation"]["settings"]["enlargement"] == 8
    assert plan.most_seen == 24
    assert plan_from_json(plan.to_json(), "plan").hash == plan.hash
    for lie in (1000.0, 2):
        written["federation"]["settings"]["enlargement"] = lie
        with pytest.raises(
            Problems, match="must be 8, which the experiment makes of each sample; leave it out"
        ):
            plan_from_json(json.dumps(written), "plan")
    assert (
        "enlargement"
        not in load_plan(write_yaml(tmp_path / "plain.yaml", plan_with_personal_layers(1))).config[
            "federation"
        ]["settings"]
    ), "older members know no such setting"
