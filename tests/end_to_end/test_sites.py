"""What sites and earlier experiments bring to a deployed one: copies of a config, checkpoints, results to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.errors import ExperimentFailed, InputError
from tests.checkout import ROOT
from tests.deployment import TINY_PLAN, Deployment, shard_entry, write_yaml
from workspace.client import Federation


def test_a_plan_starts_from_the_result_of_an_earlier_experiment(
    two_envoys: Deployment, plan_file: Path
) -> None:
    one_round = ["aggregator.settings.rounds_to_train=1"]
    with two_envoys.federation() as federation:
        earlier = federation.submit(plan_file, one_round, name="earlier")
        sha256 = earlier.watch(show=False).exchanged_sha256
        start = "federation.settings.start_from={experiment: earlier, which: last}"
        later = federation.submit(plan_file, [*one_round, start], name="later")
        assert later.info().state in ("queued", "running")
        first_round = next(e for e in later.events(follow=True) if e.kind == "round_closed")
        validated = next(e for e in earlier.events() if e.kind == "round_closed" and e.body["round"] == 1)
        assert (
            first_round.body["metrics"]["aggregated_model_validation"]
            == validated.body["metrics"]["aggregated_model_validation"]
        ), "round 0 measures the model that it starts from"
        assert sha256 != later.watch(show=False).exchanged_sha256
        with pytest.raises(InputError, match="no experiment 'nobody'"):
            federation.submit(plan_file, ["federation.settings.start_from={experiment: nobody, which: last}"])


def test_a_second_envoy_is_a_copy_with_another_name(deployment: Deployment, speech: Path) -> None:
    """As in OpenFL's tutorial: copy the config and the script, change the name, make its certificate."""
    repository = ROOT
    deployment.start_director()
    deployment.fed("certify", "-o", str(deployment.certificates), "envoy", "envoy_two")
    second = deployment.folder / "second_envoy"
    second.mkdir()
    for file in ("envoy_config.yaml", "start_envoy.sh"):
        (second / file).write_bytes((repository / "envoy" / file).read_bytes())
    (second / "start_envoy.sh").chmod(0o755)
    config: Any = yaml.safe_load((second / "envoy_config.yaml").read_text())
    config |= {
        "name": "envoy_two",
        "director": deployment.address,
        "certificates": "../certificates",
        "state": str(deployment.folder / "envoys"),
        "shard_descriptor": shard_entry(speech, 1, 2),
    }
    write_yaml(second / "envoy_config.yaml", config)
    envoy = deployment.start("envoy", "start", "-c", str(second / "envoy_config.yaml"))
    envoy.wait_for("connected to the director at .* as envoy_two")
    assert (deployment.folder / "envoys" / "envoy_two" / "envoy.log").is_file(), (
        "its state is keyed by its name"
    )
    assert {p.name for p in second.iterdir()} == {"envoy_config.yaml", "start_envoy.sh"}


def write_checkpoint(folder: Path, seed: int) -> Path:
    """Write a small wav2vec 2.0 checkpoint in the Hugging Face format, as a hub would deliver it."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(seed)
    settings = TINY_PLAN["task_runner"]["settings"]["model"]
    Wav2Vec2Model(Wav2Vec2Config(**settings)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def test_a_checkpoint_is_named_by_id_and_each_site_maps_it_to_its_own_folder(
    deployment: Deployment, speech: Path, tiny_plan: dict[str, Any], tmp_path: Path
) -> None:
    same, copy, other = (
        write_checkpoint(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    settings = tiny_plan["task_runner"]["settings"]
    del settings["model"]
    settings |= {"checkpoint": "example/wav2vec2-small", "freeze_feature_encoder": True}
    plan = write_yaml(tmp_path / "plan.yaml", tiny_plan)
    deployment.start_director()
    entries = [shard_entry(speech, rank, 3) for rank in range(3)]
    deployment.start_envoy("north", entries[0], checkpoints={"example/wav2vec2-small": str(same)})
    deployment.start_envoy("south", entries[1], checkpoints={"example/wav2vec2-small": str(copy)})
    with Federation(
        deployment.address, deployment.certificates, checkpoints={"example/wav2vec2-small": str(same)}
    ) as federation:
        first = federation.submit(plan, ["aggregator.settings.rounds_to_train=1"])
        assert first.watch(show=False).state == "finished"
        assert not [name for name in first.tensors("last") if "feature_extractor" in name], (
            "the frozen part stays"
        )
        first.model(tmp_path / "model")

        deployment.start_envoy("west", entries[2], checkpoints={"example/wav2vec2-small": str(other)})
        second = federation.submit(plan, ["federation.settings.envoys=3"])
        with pytest.raises(
            ExperimentFailed, match=r"west failed: west: the frozen part of the model differs"
        ):
            second.watch(show=False)

    with deployment.federation() as without, pytest.raises(InputError, match="checkpoints") as error:
        without.submit(plan)
    assert "example/wav2vec2-small" in str(error.value)
