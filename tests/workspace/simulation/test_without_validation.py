"""Where nobody has validation samples there is nothing to choose by: the last model is the one to take home."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.numpy

from federation.federation_file import load_federation
from federation.plan import load_plan
from federation.tensors import digest
from tests.deployment import shard_entry, write_yaml
from workspace.simulation.baseline import run_baseline
from workspace.simulation.run import simulate


def test_the_last_model_is_kept_and_measured(speech: Path, plan_file: Path, tmp_path: Path) -> None:
    entries = [shard_entry(speech, rank, 2, validation_share=0.0) for rank in range(2)]
    envoys = {name: {"shard_descriptor": entry} for name, entry in zip(("a", "b"), entries, strict=True)}
    file = write_yaml(tmp_path / "f.yaml", {"envoys": envoys, "test": {"shard_descriptor": entries[0]}})
    plan = load_plan(plan_file, ["aggregator.settings.rounds_to_train=2"])
    summary = simulate(plan, load_federation(file), tmp_path / "out", device="cpu")

    best = safetensors.numpy.load_file(tmp_path / "out" / "exchanged_best.safetensors")
    assert digest(best) == summary.exchanged_sha256
    assert summary.test == summary.last_test
    assert summary.test_accuracy is not None
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["value"] == row["value"] for row in rows)  # no NaN of nothing
    assert not [row for row in rows if "validation" in row["task"]]

    run_baseline(plan, load_federation(file), tmp_path / "central", None)
    assert (tmp_path / "central" / "model" / "config.json").is_file()
