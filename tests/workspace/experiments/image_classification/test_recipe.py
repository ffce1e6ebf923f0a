"""The recipe of image classification: where its model comes from, what of it is trained and travels, that others load it."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from transformers import pipeline

from federation.errors import InputError
from tests.image_data import CLASSES, SMALL, Pictures, small_recipe
from workspace.experiments.image_classification.recipe import ImageClassification
from workspace.experiments.image_classification.settings import (
    ImageAugmentation,
    ImageClassificationSettings,
    ResNetOverrides,
)
from workspace.learning.baselines import train_alone
from workspace.learning.exchange import exchanged_tensors, frozen_fingerprint, load_local, local_tensors
from workspace.learning.exported import load_exported
from workspace.learning.local_tensors import LocalTensors
from workspace.learning.training import TrainingReport, evaluate, initial_model, train_round

ID = "microsoft/resnet-small"
NORM = ".normalization."


def one_round(recipe: Any, model: Any, number: int = 0, rounds: int = 4, **changes: Any) -> TrainingReport:
    settings = replace(recipe.settings, **changes)
    where: dict[str, Any] = {"seed": 1, "site": "a", "device": "cpu"}
    return train_round(recipe, model, Pictures(24), settings, rounds=rounds, round_number=number, **where)


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(recipe: Any, number: int = 0) -> set[str]:
    """Train for a round, and tell what of the model's floats is another."""
    model = initial_model(recipe, 1)
    before = state(model)
    one_round(recipe, model, number)
    after = model.state_dict()
    return {
        name
        for name, tensor in before.items()
        if tensor.is_floating_point() and not torch.equal(tensor, after[name])
    }


def travels(recipe: Any) -> set[str]:
    return set(exchanged_tensors(initial_model(recipe, 1), recipe.role))


def all_floats(recipe: Any) -> set[str]:
    return {name for name, t in initial_model(recipe, 1).state_dict().items() if t.is_floating_point()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the Hugging Face format, as somebody has published it: other classes, images of 24 pixels."""
    folder = tmp_path_factory.mktemp("checkpoint")
    recipe = small_recipe(("cat", "dog"), image_size=24)
    recipe.export(initial_model(recipe, 5), folder)
    return folder


def from_checkpoint(folder: Path, **settings: Any) -> ImageClassification:
    return ImageClassification(
        ImageClassificationSettings(checkpoint=ID, **settings), CLASSES, {ID: str(folder)}
    )


def test_the_model_learns_to_tell_images_apart() -> None:
    recipe = small_recipe()
    result = train_alone(
        recipe, SMALL, Pictures(48), Pictures(30, seed=3), rounds=6, seed=1, site="x", device="cpu"
    )
    assert result.metrics[-1]["accuracy"] > 0.8


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": ImageAugmentation(policy="standard")},
        {"augmentation": ImageAugmentation(policy="randaugment")},
        {"augmentation": ImageAugmentation(policy="quadruple"), "strategy": "gradual"},
        {"batch_norm": "local", "strategy": "discriminative"},
    ],
    ids=["standard", "randaugment", "quadruple", "local"],
)
def test_the_same_seed_gives_the_same_bits(changes: dict[str, Any]) -> None:
    recipe = small_recipe(**changes)
    models = [initial_model(recipe, 1) for _ in range(2)]
    for model in models:
        one_round(recipe, model)
    one, same = map(state, models)
    assert all(torch.equal(one[name], same[name]) for name in one)


def test_a_checkpoint_gives_the_network_and_the_seed_a_new_head(checkpoint: Path) -> None:
    original = exchanged_tensors(initial_model(small_recipe(("cat", "dog"), image_size=24), 5))
    models = [exchanged_tensors(initial_model(from_checkpoint(checkpoint), seed)) for seed in (1, 1, 2)]
    for name, value in models[0].items():
        np.testing.assert_array_equal(value, models[1][name])
        if not name.startswith("classifier."):
            np.testing.assert_array_equal(value, original[name])
    assert models[0]["classifier.1.weight"].shape == (3, 8)
    assert not np.array_equal(models[0]["classifier.1.weight"], models[2]["classifier.1.weight"])


def test_the_checkpoints_size_of_images_counts_unless_the_plan_has_its_own(
    checkpoint: Path, tmp_path: Path
) -> None:
    for settings, size in (({}, 24), ({"image_size": 16}, 16)):
        recipe = from_checkpoint(checkpoint, **settings)
        recipe.export(recipe.build_model(), tmp_path)
        processor = json.loads((tmp_path / "preprocessor_config.json").read_text())
        assert processor["size"] == {"shortest_edge": size}
        assert processor["crop_size"] == {"height": size, "width": size}


def test_only_the_head_is_trained_and_travels_with_strategy_head(checkpoint: Path) -> None:
    recipe = from_checkpoint(checkpoint, strategy="head")
    head = {"classifier.1.weight", "classifier.1.bias"}
    assert travels(recipe) == changed(recipe) == head  # the statistics of BatchNorm do not drift either
    model = initial_model(recipe, 1)
    before = frozen_fingerprint(model, recipe.role)
    one_round(recipe, model)
    assert frozen_fingerprint(model, recipe.role) == before


def test_all_is_trained_and_travels_with_strategy_full() -> None:
    recipe = small_recipe()
    assert travels(recipe) == changed(recipe) == all_floats(recipe)


def test_the_head_alone_learns_faster_with_strategy_discriminative() -> None:
    recipe = small_recipe(strategy="discriminative", head_learning_rate_factor=5.0)
    recipe.build_model()
    assert recipe.learning_rate_share("classifier.1.weight", 0.0) == 5
    assert recipe.learning_rate_share("resnet.encoder.stages.1.layers.0.x", 0.0) == 1
    full = small_recipe(head_learning_rate_factor=5.0)
    assert full.learning_rate_share("classifier.1.weight", 0.0) == 1


def test_gradual_unfreezing_goes_from_the_head_down_and_all_travels_from_the_start() -> None:
    recipe = small_recipe(strategy="gradual", unfrozen_by=0.75)
    assert travels(recipe) == all_floats(recipe)
    parts = ("classifier.", "resnet.encoder.stages.1.", "resnet.encoder.stages.0.", "resnet.embedder.")
    for number in range(4):
        trained = changed(recipe, number)
        touched = [any(name.startswith(part) for name in trained) for part in parts]
        assert touched == [True] * (number + 1) + [False] * (3 - number), f"round {number}"


def norms(names: set[str]) -> set[str]:
    return {name for name in names if NORM in name}


def test_weights_and_statistics_of_batch_norm_travel_by_default() -> None:
    recipe = small_recipe()
    kinds = {name.rpartition(".")[2] for name in norms(travels(recipe))}
    assert kinds == {
        "weight",
        "bias",
        "running_mean",
        "running_var",
    }  # and not the integer that counts batches


def test_a_frozen_batch_norm_neither_travels_nor_changes() -> None:
    recipe = small_recipe(batch_norm="freeze")
    assert not norms(travels(recipe))
    assert changed(recipe) == travels(recipe) == all_floats(recipe) - norms(all_floats(recipe))
    model = initial_model(recipe, 1)
    before = frozen_fingerprint(model, recipe.role)
    model.get_submodule("resnet.embedder.embedder.normalization").running_mean += 1  # type: ignore[operator]
    assert frozen_fingerprint(model, recipe.role) != before


def test_a_local_batch_norm_is_trained_and_stays_at_its_site() -> None:
    recipe = small_recipe(batch_norm="local")
    whole = all_floats(recipe)
    assert travels(recipe) == whole - norms(whole)
    assert set(local_tensors(initial_model(recipe, 1), recipe.role)) == norms(whole)
    assert norms(changed(recipe)) == norms(whole)
    # A site with another BatchNorm has the same frozen part: the workspace does not know the sites' own.
    model = initial_model(recipe, 1)
    before = frozen_fingerprint(model, recipe.role)
    one_round(recipe, model)
    assert frozen_fingerprint(model, recipe.role) == before


def test_a_restarted_site_goes_on_with_its_own_batch_norm(tmp_path: Path) -> None:
    recipe = small_recipe(batch_norm="local")
    model = initial_model(recipe, 1)
    one_round(recipe, model)
    LocalTensors(tmp_path).keep(0, local_tensors(model, recipe.role))
    other = initial_model(recipe, 1)
    kept = LocalTensors(tmp_path).before(1)
    assert kept is not None
    load_local(other, kept, recipe.role)
    one, same = (local_tensors(m, recipe.role) for m in (model, other))
    assert all(np.array_equal(one[name], same[name]) for name in one)


@pytest.mark.parametrize("batch_norm", ["aggregate", "local", "freeze"])
def test_a_baseline_gives_back_the_batch_norm_of_its_best_model(batch_norm: str) -> None:
    recipe = small_recipe(batch_norm=batch_norm)
    settings = replace(SMALL, batch_norm=batch_norm)  # type: ignore[arg-type]
    validation = Pictures(30, seed=3)
    result = train_alone(recipe, settings, Pictures(24), validation, rounds=5, seed=1, site="x", device="cpu")
    sums = evaluate(recipe, result.model, validation, settings, device="cpu")
    best = result.metrics[result.best_round - 1]
    assert float(sums["loss_sum"]) / 30 == pytest.approx(best["loss"], rel=1e-6)


def test_a_batch_of_one_image_does_not_spoil_batch_norm() -> None:
    recipe = small_recipe(image_size=8)  # the last stage sees a single pixel
    model = initial_model(recipe, 1)
    before = state(model)
    where: dict[str, Any] = {"seed": 1, "site": "a", "device": "cpu"}
    train_round(recipe, model, Pictures(1), SMALL, rounds=1, round_number=0, **where)
    after = state(model)
    assert all(torch.equal(before[name], after[name]) for name in before if "running" in name)


def test_the_head_alone_and_a_local_batch_norm_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="batch_norm: local needs BatchNorm to be trained"):
        ImageClassificationSettings(strategy="head", batch_norm="local")
    with pytest.raises(ValueError, match="one entry for each stage"):
        ResNetOverrides(hidden_sizes=[4, 8], depths=[1])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (7, 9, 3)).astype(np.uint8)
    file = tmp_path / "photo.jpg"
    Image.fromarray(pixels).resize((90, 70)).save(file)
    return file


def test_an_export_is_a_folder_that_a_transformers_pipeline_loads(
    checkpoint: Path, tmp_path: Path, photo: Path
) -> None:
    recipe = from_checkpoint(checkpoint)
    model = initial_model(recipe, 1)
    one_round(recipe, model)
    recipe.export(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = pipeline("image-classification", model=str(tmp_path), device="cpu")(str(photo), top_k=3)
    [predicted] = recipe.predict(model.eval(), [str(photo)], None)
    scores = {answer["label"]: answer["score"] for answer in answers}
    assert scores == pytest.approx(dict(predicted.scores), abs=1e-5)
    assert predicted.output == answers[0]["label"]
    assert predicted.attention == ()


def test_a_prediction_sees_of_a_picture_what_a_person_sees(tmp_path: Path) -> None:
    recipe = small_recipe()
    model = initial_model(recipe, 1).eval()
    drawing = np.zeros((20, 20, 4), np.uint8)
    drawing[5:15, 5:10, 3] = 255
    on_white = np.where(drawing[..., 3] > 0, np.uint8(0), np.uint8(255))
    deep = on_white.astype(np.uint16) * 257
    forms = {"transparent": drawing, "opaque": np.repeat(on_white[..., None], 3, 2), "deep": deep}
    for name, pixels in forms.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    transparent, opaque, of_sixteen_bits = recipe.predict(
        model, [str(tmp_path / f"{name}.png") for name in forms], None
    )
    assert transparent.scores == opaque.scores == of_sixteen_bits.scores
    Image.new("RGBA", (20, 20)).save(tmp_path / "nothing.png")
    with pytest.raises(InputError, match=r"nothing\.png: is transparent all over"):
        recipe.predict(model, [str(tmp_path / "nothing.png")], None)


def test_an_exported_folder_is_read_back_with_its_classes_and_its_size_of_images(tmp_path: Path) -> None:
    recipe = small_recipe()
    model = initial_model(recipe, 1)
    one_round(recipe, model)
    recipe.export(model, tmp_path)
    same_recipe, settings, same_model = load_exported(tmp_path)
    assert tuple(same_recipe.classes) == CLASSES
    split = Pictures(9, size=20)
    measured = [
        evaluate(r, m, split, s, device="cpu")
        for r, m, s in ((recipe, model, SMALL), (same_recipe, same_model, settings))
    ]
    assert float(measured[0]["loss_sum"]) == pytest.approx(float(measured[1]["loss_sum"]), rel=1e-6)


def test_what_a_user_gives_wrong_is_told_in_one_line(tmp_path: Path, photo: Path) -> None:
    recipe = small_recipe()
    model = initial_model(recipe, 1).eval()
    with pytest.raises(InputError, match="draws no attention maps; leave --attention out"):
        recipe.predict(model, [str(photo)], None, attention=True)
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        recipe.predict(model, [str(tmp_path / "none.png")], None)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"text\.png: no JPEG or PNG image"):
        recipe.predict(model, [str(tmp_path / "text.png")], None)
    with pytest.raises(InputError, match=r"several sizes \(16x16x3, 20x20x3\).*image_size"):
        recipe.collate([*Pictures(1), *Pictures(1, size=20)], None)


def test_files_that_hold_no_model_are_told_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    refused = rf"^checkpoint {ID}: no ResNetForImageClassification .*[^\n]*$"
    with pytest.raises(InputError, match=refused):
        from_checkpoint(tmp_path).build_model()
    save_file({"bert.weight": np.zeros(3, np.float32)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=refused.replace("$", r"tensors are missing [^\n]*$")):
        from_checkpoint(tmp_path).build_model()
    other_shapes = ResNetOverrides(embedding_size=6)
    with pytest.raises(InputError, match="of another shape, the first is resnet"):
        from_checkpoint(checkpoint, model=other_shapes).build_model()
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "nix"}))
    with pytest.raises(
        InputError, match=refused.replace("$", r"config cannot be loaded \(KeyError: 'nix'\)$")
    ):
        from_checkpoint(tmp_path).build_model()
    (tmp_path / "preprocessor_config.json").write_text("[")
    with pytest.raises(InputError, match=r"preprocessor_config.json: is no JSON mapping"):
        from_checkpoint(tmp_path)
