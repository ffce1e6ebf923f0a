"""Image classification as its users meet it: simulated, deployed, measured, applied to their own photographs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from federation.federation_file import load_federation
from federation.plan import load_plan
from federation.tensors import open_mapped
from tests.checkout import PLANS
from tests.deployment import Deployment, Service, write_yaml
from tests.image_data import CLASSES, make_image_folder, picture, shard_entry
from workspace.simulation.baseline import run_baseline
from workspace.simulation.run import simulate

SETS = [
    f"federation.settings.classes={json.dumps(CLASSES)}",
    "federation.settings.dataset=colours",
    "federation.settings.envoys=2",
    "task_runner.settings.image_size=16",
    "task_runner.settings.batch_size=8",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images of each class."""
    return make_image_folder(tmp_path_factory.mktemp("images") / "images")


@pytest.fixture
def federation_file(tmp_path: Path, images: Path) -> Path:
    """Two envoys, and the test images that neither holds."""
    entries: dict[str, Any] = {
        name: {"shard_descriptor": shard_entry(images, rank, 2)}
        for rank, name in enumerate(("north", "south"))
    }
    return write_yaml(tmp_path / "federation.yaml", {"envoys": entries, "test": entries["north"]})


def test_the_tiny_plan_learns_and_its_model_is_measured_and_applied(
    federation_file: Path, tmp_path: Path
) -> None:
    import numpy as np
    from click.testing import CliRunner

    from federation.main import fed

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(fed, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    plan = load_plan(PLANS / "image_tiny.yaml", [*SETS, "aggregator.settings.rounds_to_train=8"])
    summary = simulate(plan, load_federation(federation_file), tmp_path / "out")
    assert summary.test_accuracy is not None
    assert summary.test_accuracy > 0.8

    model = str(tmp_path / "out" / "model")
    measured = json.loads(run("evaluate", model, "--on", str(federation_file), "--json"))
    assert measured["score"] == summary.test_accuracy
    assert measured["samples"] == 12

    photos = []
    for word in CLASSES:
        photos.append(str(tmp_path / f"{word}.jpg"))
        Image.fromarray(picture(word, np.random.default_rng(9))).resize((80, 60)).save(photos[-1], quality=95)
    predictions = [json.loads(line) for line in run("predict", model, *photos, "--json").splitlines()]
    assert [p["input"] for p in predictions] == photos
    assert sum(p["output"] == word for p, word in zip(predictions, CLASSES, strict=True)) >= 2
    assert all(sum(p["scores"].values()) == pytest.approx(1, abs=1e-5) for p in predictions)


def test_a_deployed_run_has_the_bits_of_a_simulated_one_batch_norm_of_each_site_included(
    deployment: Deployment, images: Path, federation_file: Path, tmp_path: Path
) -> None:
    sets = [
        *SETS,
        "aggregator.settings.rounds_to_train=2",
        "task_runner.settings.strategy=gradual",
        "task_runner.settings.batch_norm=local",
        "task_runner.settings.augmentation={policy: randaugment}",
    ]
    deployment.start_director()
    waiting: list[Service] = [
        deployment.start_envoy(name, shard_entry(images, rank, 2), wait=False)
        for rank, name in enumerate(("north", "south"))
    ]
    for envoy in waiting:
        envoy.wait_for("connected to the director")
    with deployment.federation() as federation:
        deployed = federation.submit(PLANS / "image_tiny.yaml", sets).watch(show=False)
    simulated = simulate(
        load_plan(PLANS / "image_tiny.yaml", sets), load_federation(federation_file), tmp_path / "out"
    )
    assert simulated.exchanged_sha256 == deployed.exchanged_sha256
    names = open_mapped(tmp_path / "out" / "exchanged_last.safetensors").keys()
    assert names
    assert not [name for name in names if ".normalization." in name]


def test_a_model_that_was_taken_home_is_fine_tuned_on_other_classes(
    federation_file: Path, images: Path, tmp_path: Path
) -> None:
    one_round = [*SETS, "aggregator.settings.rounds_to_train=1"]
    first = load_plan(PLANS / "image_tiny.yaml", one_round)
    run_baseline(first, load_federation(federation_file), tmp_path / "first", envoy="north")
    entries = {
        name: {"shard_descriptor": shard_entry(images, rank, 2, classes=["red", "blue"])}
        for rank, name in enumerate(("north", "south"))
    }
    content = {"envoys": entries, "checkpoints": {"microsoft/resnet-18": str(tmp_path / "first" / "model")}}
    second = load_plan(
        PLANS / "image_head.yaml",
        [*one_round, "federation.settings.classes=[red, blue]", "federation.settings.torch_threads=1"],
    )
    federation = load_federation(write_yaml(tmp_path / "second.yaml", content))
    summary = simulate(second, federation, tmp_path / "second")
    assert summary.exchanged_bytes == 4 * (2 * 64 + 2), "the head alone travels"


@pytest.mark.parametrize("plan", sorted(path.name for path in PLANS.glob("image_*.yaml")))
def test_every_plan_of_the_family_is_sound_and_says_how_it_is_launched(plan: str) -> None:
    load_plan(PLANS / plan)
    assert f"#   fed submit plans/{plan}" in (PLANS / plan).read_text()
