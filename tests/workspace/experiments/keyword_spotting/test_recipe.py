"""The keyword-spotting recipe: where its model comes from, what of it is trained, and that others can load it."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor, pipeline

from federation.errors import InputError
from tests.learning_parts import CLASSES, SMALL, Tones, small_recipe
from workspace.experiments.keyword_spotting.recipe import KeywordSpotting
from workspace.experiments.keyword_spotting.settings import KeywordSpottingSettings, Wav2Vec2Overrides
from workspace.learning.exchange import exchanged_tensors, frozen_fingerprint
from workspace.learning.exported import load_exported
from workspace.learning.recipe import build_recipe
from workspace.learning.settings import LoraSettings
from workspace.learning.training import evaluate, initial_model, train_round

ID = "facebook/wav2vec2-small"


def from_checkpoint(folder: Path, classes: tuple[str, ...] = CLASSES, **settings: Any) -> KeywordSpotting:
    return KeywordSpotting(KeywordSpottingSettings(checkpoint=ID, **settings), classes, {ID: str(folder)})


def one_step(recipe: Any, model: Any) -> None:
    train_round(recipe, model, Tones(8), SMALL, rounds=2, round_number=0, seed=1, site="a", device="cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the Hugging Face format, as pre-training leaves it: an encoder without a head."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model: Any = initial_model(small_recipe(), seed=5)
    model.wav2vec2.save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def test_a_checkpoint_gives_the_encoder_and_the_seed_gives_the_head(checkpoint: Path) -> None:
    original = exchanged_tensors(initial_model(small_recipe(), seed=5))
    models = [exchanged_tensors(initial_model(from_checkpoint(checkpoint), seed)) for seed in (1, 1, 2)]
    for name, value in models[0].items():
        np.testing.assert_array_equal(value, models[1][name])
        if name.startswith("wav2vec2."):
            np.testing.assert_array_equal(value, original[name])
            np.testing.assert_array_equal(value, models[2][name])
    assert not np.array_equal(models[0]["classifier.weight"], models[2]["classifier.weight"])


def test_the_checkpoints_config_decides_unless_the_plan_overrides_it(checkpoint: Path) -> None:
    plain: Any = from_checkpoint(checkpoint).build_model()
    changed: Any = from_checkpoint(checkpoint, model=Wav2Vec2Overrides(mask_time_prob=0.3)).build_model()
    assert (plain.config.mask_time_prob, plain.config.mask_time_length) == (0.05, 4)
    assert (changed.config.mask_time_prob, changed.config.mask_time_length) == (0.3, 4)
    assert plain.config.id2label == dict(enumerate(CLASSES))


def test_a_head_for_other_classes_is_replaced(checkpoint: Path, tmp_path: Path) -> None:
    recipe = from_checkpoint(checkpoint)
    recipe.export(initial_model(recipe, 1), tmp_path)
    model: Any = from_checkpoint(tmp_path, ("yes", "no")).build_model()
    assert tuple(model.classifier.weight.shape) == (2, 16)


@pytest.mark.parametrize(
    ("classes", "kept"),
    [
        (CLASSES, True),
        (("LOW", "Middle", "high"), True),
        (("yes", "no", "up"), False),
        (CLASSES[::-1], False),
    ],
)
def test_a_head_for_as_many_other_classes_is_replaced_as_well(
    checkpoint: Path, tmp_path: Path, classes: tuple[str, ...], kept: bool
) -> None:
    recipe = from_checkpoint(checkpoint)
    recipe.export(initial_model(recipe, 1), tmp_path)
    before: Any = from_checkpoint(tmp_path).build_model()
    after, again = (initial_model(from_checkpoint(tmp_path, classes), seed=2).state_dict() for _ in range(2))
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after[name]) == (kept or name != "classifier.weight"), name
        assert torch.equal(after[name], again[name]), name


def test_a_head_whose_labels_have_no_names_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    recipe = from_checkpoint(checkpoint)
    recipe.export(initial_model(recipe, 1), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "id2label": {i: f"LABEL_{i}" for i in range(3)},
        "label2id": {f"LABEL_{i}": i for i in range(3)},
    }
    kept: Any = from_checkpoint(tmp_path).build_model()
    (tmp_path / "config.json").write_text(json.dumps(config))
    same: Any = from_checkpoint(tmp_path).build_model()
    assert torch.equal(kept.classifier.weight, same.classifier.weight)


def test_a_missing_checkpoint_says_in_one_line_how_to_provide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    settings = KeywordSpottingSettings(checkpoint="facebook/wav2vec2-base")
    for checkpoints in ({}, {"facebook/wav2vec2-base": str(tmp_path)}):
        with pytest.raises(InputError) as caught:
            build_recipe("keyword_spotting", settings, CLASSES, checkpoints)
        assert "checkpoints: {facebook/wav2vec2-base: /path/to/folder}" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_files_that_hold_no_model_are_told_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(
        InputError, match=rf"^checkpoint {ID}: no Wav2Vec2ForSequenceClassification .*[^\n]*$"
    ):
        from_checkpoint(tmp_path).build_model()


@pytest.mark.parametrize("damage", ["missing", "another shape"])
def test_a_checkpoint_that_lacks_part_of_the_encoder_is_refused_and_not_filled_at_random(
    checkpoint: Path, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    name = next(name for name in weights if name.endswith("feature_projection.projection.weight"))
    del weights[name]
    if damage == "another shape":
        weights[name] = torch.zeros(3, 3)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=r"1 tensors are missing or of another shape, the first is wav2vec2\.feature_p"
    ):
        from_checkpoint(tmp_path).build_model()


def test_what_stands_for_masked_frames_may_be_new(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop(next(name for name in weights if name.endswith("masked_spec_embed")))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    one, again = (exchanged_tensors(initial_model(from_checkpoint(tmp_path), seed=3)) for _ in range(2))
    started = one["wav2vec2.masked_spec_embed"]
    np.testing.assert_array_equal(started, again["wav2vec2.masked_spec_embed"])
    assert ((started >= 0) & (started < 1)).all() and len(set(started.tolist())) == len(started)


def test_a_model_of_impossible_shape_is_told_in_one_line(checkpoint: Path) -> None:
    for model, key in (
        (Wav2Vec2Overrides(conv_dim=[8]), "conv_dim"),
        (Wav2Vec2Overrides(hidden_size=10, num_attention_heads=3), "num_attention_heads"),
    ):
        with pytest.raises(ValueError, match=rf"^model\.{key}[^\n]*$"):
            small_recipe(model=model)
        with pytest.raises(InputError, match=rf"^checkpoint {ID}: no Wav2Vec2[^\n]*$"):
            from_checkpoint(checkpoint, model=model).build_model()


def test_a_frozen_feature_encoder_does_not_travel_and_does_not_change() -> None:
    recipe = small_recipe(freeze_feature_encoder=True)
    model = initial_model(recipe, 1)
    before = frozen_fingerprint(model)
    one_step(recipe, model)
    assert not [name for name in exchanged_tensors(model) if "feature_extractor" in name]
    assert frozen_fingerprint(model) == before


def test_a_feature_encoder_that_is_not_frozen_is_trained() -> None:
    recipe = small_recipe()
    model = initial_model(recipe, 1)
    before = exchanged_tensors(model)
    one_step(recipe, model)
    name = "wav2vec2.feature_extractor.conv_layers.0.conv.weight"
    assert not np.array_equal(exchanged_tensors(model)[name], before[name])


def test_only_adapters_and_head_are_exchanged_with_lora(checkpoint: Path) -> None:
    recipe = from_checkpoint(checkpoint, lora=LoraSettings(rank=2))
    model = initial_model(recipe, 1)
    fingerprint, names = frozen_fingerprint(model), list(exchanged_tensors(model))
    one_step(recipe, model)
    assert frozen_fingerprint(model) == fingerprint
    assert all(".lora_" in name or ".projector." in name or ".classifier." in name for name in names)
    assert sum(".lora_" in name for name in names) == 2 * 2  # A and B of the query and value projection
    assert sum("projector" in name or "classifier" in name for name in names) == 4


def test_gradient_checkpointing_gives_the_same_gradients(checkpoint: Path) -> None:
    steps = []
    for switch in (False, True):
        recipe = from_checkpoint(checkpoint, gradient_checkpointing=switch, freeze_feature_encoder=True)
        model = initial_model(recipe, 1)
        one_step(recipe, model)
        steps.append(exchanged_tensors(model))
    for name, value in steps[0].items():
        np.testing.assert_allclose(value, steps[1][name], atol=1e-6, err_msg=name)


def test_clips_are_normalised_as_the_feature_extractor_does_it() -> None:
    clips = Tones(4)
    batch = small_recipe().collate(clips, None)
    reference = Wav2Vec2FeatureExtractor()(
        [c["audio"] for c in clips], sampling_rate=16000, return_tensors="np"
    )
    np.testing.assert_allclose(batch["input_values"].numpy(), reference["input_values"], atol=1e-5)
    assert batch["labels"].tolist() == [clip["label"] for clip in clips]


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_an_export_is_a_folder_that_a_transformers_pipeline_loads(
    checkpoint: Path, tmp_path: Path, lora: LoraSettings | None
) -> None:
    recipe = from_checkpoint(checkpoint, lora=lora)
    model = initial_model(recipe, 1)
    one_step(recipe, model)
    before = exchanged_tensors(model)
    recipe.export(model, tmp_path)
    clip = Tones(1)[0]["audio"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = pipeline("audio-classification", model=str(tmp_path), device="cpu")(clip, top_k=3)
    with torch.inference_mode():
        logits = model.eval()(recipe.collate([{"audio": clip, "label": 0}], None)["input_values"]).logits[0]
    expected = dict(zip(CLASSES, logits.softmax(-1).tolist(), strict=True))
    assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(expected, abs=1e-4)
    after = exchanged_tensors(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_an_exported_folder_is_read_back_with_its_classes(tmp_path: Path) -> None:
    recipe = small_recipe()
    model = initial_model(recipe, 1)
    recipe.export(model, tmp_path)
    same_recipe, settings, same_model = load_exported(tmp_path)
    assert tuple(same_recipe.classes) == CLASSES
    measured = [
        evaluate(r, m, Tones(9), s, device="cpu")
        for r, m, s in ((recipe, model, SMALL), (same_recipe, same_model, settings))
    ]
    assert float(measured[0]["loss_sum"]) == pytest.approx(float(measured[1]["loss_sum"]), rel=1e-6)


def test_a_folder_without_a_known_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model folder"):
        load_exported(tmp_path)
    config = {"architectures": ["GPT2Model"], "id2label": {"0": "a"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"GPT2Model.*known: .*Wav2Vec2ForSequenceClassification"):
        load_exported(tmp_path)


def test_a_filterbank_start_has_one_band_in_two_phases_for_each_pair_of_channels() -> None:
    model: Any = small_recipe(filterbank_start=True).build_model()
    weight = model.wav2vec2.feature_extractor.conv_layers[0].conv.weight.detach().numpy()[:, 0]
    np.testing.assert_allclose(np.linalg.norm(weight, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(weight[0::2], weight[0::2, ::-1], atol=1e-6)  # cosines are even
    np.testing.assert_allclose(weight[1::2], -weight[1::2, ::-1], atol=1e-6)  # sines are odd
    peaks = np.abs(np.fft.rfft(weight[0::2], 1024)).argmax(axis=1)
    assert (np.diff(peaks) > 0).all()


def test_an_unknown_experiment_is_told() -> None:
    with pytest.raises(InputError, match=r"there is no experiment 'x' here; known: .*keyword_spotting"):
        build_recipe("x", SMALL, CLASSES, {})
