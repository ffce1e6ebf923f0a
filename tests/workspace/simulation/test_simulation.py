"""A simulation is the deployment on one machine: the same parts, and the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from federation.errors import ExperimentFailed, InputError
from federation.federation_file import load_federation
from federation.plan import load_plan
from federation.tensors import digest
from tests.deployment import Deployment, shard_entry, write_yaml
from workspace.simulation.baseline import run_baseline
from workspace.simulation.run import simulate


@pytest.fixture
def federation_file(tmp_path: Path, speech: Path) -> Path:
    """Two envoys with disjoint speakers, and the test speakers that neither holds."""
    entries: dict[str, Any] = {
        name: {"shard_descriptor": shard_entry(speech, rank, 2)}
        for rank, name in enumerate(("north", "south"))
    }
    return write_yaml(tmp_path / "federation.yaml", {"envoys": entries, "test": entries["north"]})


def test_a_simulated_run_has_the_bits_of_a_deployed_one_with_one_and_with_several_processes(
    two_envoys: Deployment, plan_file: Path, federation_file: Path, tmp_path: Path
) -> None:
    # Dropout and masking draw on torch's and numpy's global generators, which must not differ either.
    sets = [
        "task_runner.settings.model.hidden_dropout=0.1",
        "task_runner.settings.model.mask_time_prob=0.1",
        "task_runner.settings.model.mask_time_length=2",
    ]
    with two_envoys.federation() as federation:
        deployed = federation.submit(plan_file, sets).watch(show=False)

    plan, envoys = load_plan(plan_file, sets), load_federation(federation_file)
    one = simulate(plan, envoys, tmp_path / "one")
    several = simulate(plan, envoys, tmp_path / "several", processes=2)

    assert one.exchanged_sha256 == deployed.exchanged_sha256
    assert several.exchanged_sha256 == deployed.exchanged_sha256
    other_seed = load_plan(plan_file, [*sets, "federation.settings.seed=8"])
    assert simulate(other_seed, envoys, tmp_path / "other").exchanged_sha256 != deployed.exchanged_sha256


def test_a_simulation_leaves_a_summary_metrics_and_a_model(
    plan_file: Path, federation_file: Path, tmp_path: Path
) -> None:
    plan = load_plan(plan_file, ["aggregator.settings.rounds_to_train=1"])
    summary = simulate(plan, load_federation(federation_file), tmp_path / "out")

    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written["rounds"] == 1
    assert written["exchanged_sha256"] == summary.exchanged_sha256
    assert 0 <= written["test_accuracy"] <= 1
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert {row["origin"] for row in rows} == {"north", "south", "aggregator"}
    assert {row["round"] for row in rows} == {0, 1}
    last = safetensors.numpy.load_file(tmp_path / "out" / "exchanged_last.safetensors")
    assert digest(last) == summary.exchanged_sha256
    with safe_open(tmp_path / "out" / "model" / "model.safetensors", framework="np") as model:
        assert set(last) <= set(model.keys())


def test_a_later_simulation_starts_from_an_earlier_one(
    plan_file: Path, federation_file: Path, tmp_path: Path
) -> None:
    one_round = "aggregator.settings.rounds_to_train=1"
    envoys = load_federation(federation_file)
    simulate(load_plan(plan_file, [one_round]), envoys, tmp_path / "first")
    start = "federation.settings.start_from={experiment: first, which: last}"
    simulate(load_plan(plan_file, [one_round, start]), envoys, tmp_path / "second")

    def validation(name: str, round_number: int) -> list[Any]:
        rows = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        return [
            row["value"]
            for row in rows
            if (row["origin"], row["task"], row["round"])
            == ("aggregator", "aggregated_model_validation", round_number)
        ]

    assert validation("second", 0) == validation("first", 1)
    with pytest.raises(InputError, match="no earlier simulation 'third'"):
        simulate(load_plan(plan_file, [start.replace("first", "third")]), envoys, tmp_path / "fourth")


def test_a_baseline_of_a_plan_that_starts_from_an_earlier_one_starts_there_too(
    plan_file: Path, federation_file: Path, tmp_path: Path
) -> None:
    """Or a chain would be measured against a training that begins with nothing."""
    rounds = ["aggregator.settings.rounds_to_train=1", "task_runner.settings.learning_rate=1e-12"]
    envoys = load_federation(federation_file)
    simulate(load_plan(plan_file, rounds[:1]), envoys, tmp_path / "first")
    frozen = "task_runner.settings.freeze_feature_encoder=true"
    start = "federation.settings.start_from={experiment: first, which: last, take: [encoder]}"
    run_baseline(load_plan(plan_file, [*rounds, frozen, start]), envoys, tmp_path / "central")
    earlier = safetensors.numpy.load_file(tmp_path / "first" / "exchanged_last.safetensors")
    ours = safetensors.numpy.load_file(tmp_path / "central" / "model" / "model.safetensors")
    name = "wav2vec2.feature_extractor.conv_layers.0.conv.weight"
    assert np.array_equal(ours[name], earlier[name])
    with pytest.raises(InputError, match="no earlier simulation 'nobody'"):
        run_baseline(
            load_plan(plan_file, [start.replace("first", "nobody")]), envoys, tmp_path / "none", "north"
        )


def test_too_few_envoys_and_a_site_that_fails_are_said_in_one_line(
    plan_file: Path, federation_file: Path, tmp_path: Path
) -> None:
    envoys = load_federation(federation_file)
    with pytest.raises(InputError, match="needs 5 envoys, the federation file has 2"):
        simulate(load_plan(plan_file, ["federation.settings.envoys=5"]), envoys, tmp_path / "few")
    wild = ["task_runner.settings.learning_rate=1e30", "task_runner.settings.epochs=4"]
    for processes in (1, 2):
        with pytest.raises(
            ExperimentFailed, match=r"diverged: at 2 of 2 envoys \(north, south\): .*learning_rate"
        ):
            simulate(load_plan(plan_file, wild), envoys, tmp_path / f"wild_{processes}", processes)
