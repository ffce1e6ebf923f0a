"""What a checkpoint says of its input: it is followed, or refused by its key; and an export says what was trained."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    BertForSequenceClassification,
    Wav2Vec2FeatureExtractor,
    pipeline,
)

from federation.errors import InputError
from federation.experiments import experiment_named
from tests import image_data
from tests.learning_parts import CLASSES, Tones, small_recipe
from tests.sentiment_data import CLASSES as SENTIMENTS
from tests.sentiment_data import VOCABULARY
from workspace.experiments.sentiment.recipe import Sentiment
from workspace.experiments.sentiment.settings import BertOverrides, SentimentSettings
from workspace.learning.recipe import Recipe, build_recipe
from workspace.learning.training import initial_model

ID = "somebody/model"
OWN = "preprocessor_config.json"


def speech(folder: Path) -> Path:
    small_recipe().export(initial_model(small_recipe(), 5), folder)
    return folder


def images(folder: Path) -> Path:
    recipe = image_data.small_recipe()
    recipe.export(initial_model(recipe, 5), folder)
    return folder


def sentences(folder: Path) -> Path:
    model = BertOverrides(
        architecture="bert", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    recipe = Sentiment(SentimentSettings(vocabulary=VOCABULARY, model=model), SENTIMENTS, {})
    recipe.export(initial_model(recipe, 5), folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    made = {"keyword_spotting": speech, "image_classification": images, "sentiment": sentences}
    return {name: make(root / name) for name, make in made.items()}


@pytest.fixture
def changed(checkpoints: dict[str, Path], tmp_path: Path) -> Any:
    """Copy an experiment's checkpoint, with keys of one of its files changed."""

    def change(experiment: str, file: str, keys: Mapping[str, Any]) -> Path:
        folder = tmp_path / experiment
        shutil.copytree(checkpoints[experiment], folder)
        path = folder / file
        said = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(said | keys))
        return folder

    return change


def started(experiment: str, folder: Path) -> Recipe:
    settings = TypeAdapter(experiment_named(experiment).settings).validate_python({"checkpoint": ID})
    classes = SENTIMENTS if experiment == "sentiment" else list(CLASSES)
    return build_recipe(experiment, settings, classes, {ID: str(folder)})


@pytest.mark.parametrize(
    ("experiment", "keys", "said"),
    [
        ("keyword_spotting", {"sampling_rate": 8000}, "sampling_rate is 8000; clips have 16000"),
        ("keyword_spotting", {"sampling_rate": "16 kHz"}, "sampling_rate is '16 kHz'"),
        ("keyword_spotting", {"do_normalize": "no"}, "do_normalize is 'no'; it must be true or false"),
        ("keyword_spotting", {"feature_extractor_type": "ASTFeatureExtractor"}, "feature_extractor_type is"),
        ("keyword_spotting", {"feature_size": 80}, "feature_size is 80"),
        ("image_classification", {"do_rescale": False}, "do_rescale is false; pixels are scaled to 0 to 1"),
        ("image_classification", {"rescale_factor": 1.0}, "rescale_factor is 1.0"),
        ("image_classification", {"do_flip_channel_order": True}, "images are RGB here"),
        ("image_classification", {"do_normalize": 1}, "do_normalize is 1; it must be true or false"),
        ("image_classification", {"image_mean": [0.5]}, "image_mean is .*; it must be three numbers"),
        ("image_classification", {"image_mean": [124, 116, 104]}, "image_mean is .* from 0 to 1"),
        ("image_classification", {"image_std": [0, 1, 1]}, "image_std is .* between 0.001 and 1"),
        (
            "image_classification",
            {"crop_size": None, "size": -3},
            "size is -3; no square of 8 to 2048 pixels",
        ),
        ("image_classification", {"crop_size": None, "size": "big"}, "size is 'big'; no square"),
        ("image_classification", {"crop_size": {"height": 24, "width": 32}}, "crop_size is .*; no square"),
        ("sentiment", {"model_max_length": "long"}, "model_max_length is 'long'; it must be at least 3"),
        ("sentiment", {"model_max_length": -1}, "model_max_length is -1"),
        ("sentiment", {"do_lower_case": "perhaps"}, "no BERT or DistilBERT can be made of it"),
        ("sentiment", {"tokenizer_class": 5}, "its config or tokenizer cannot be loaded"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_refused_in_one_line_that_names_it(
    experiment: str, keys: Mapping[str, Any], said: str, changed: Any
) -> None:
    file = "tokenizer_config.json" if experiment == "sentiment" else OWN
    with pytest.raises(InputError, match=said) as caught:
        started(experiment, changed(experiment, file, keys))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("experiment", ["keyword_spotting", "image_classification"])
@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"null", b"\xff\xfe{\0}\0"])
def test_a_broken_file_is_refused_by_its_name(experiment: str, content: bytes, changed: Any) -> None:
    folder = changed(experiment, OWN, {})
    (folder / OWN).write_bytes(content)
    with pytest.raises(InputError, match=f"{OWN}: is no JSON mapping"):
        started(experiment, folder)


@pytest.mark.parametrize(
    ("experiment", "part"),
    [("keyword_spotting", "feature_extractor"), ("image_classification", "image_processor")],
)
def test_the_file_of_newer_checkpoints_counts_before_the_older_one(
    experiment: str, part: str, changed: Any
) -> None:
    folder = changed(experiment, "processor_config.json", {part: {"do_normalize": "no"}})
    with pytest.raises(InputError, match=r"processor_config.json: do_normalize is 'no'"):
        started(experiment, folder)
    (folder / "processor_config.json").write_text("{}")
    started(experiment, folder)


def test_a_waveform_that_is_not_normalised_stays_as_it_is_and_the_export_says_so(
    changed: Any, tmp_path: Path
) -> None:
    recipe = started("keyword_spotting", changed("keyword_spotting", OWN, {"do_normalize": False}))
    model = initial_model(recipe, 1).eval()
    recipe.export(model, tmp_path / "out")
    clip = Tones(1)[0]
    batch = recipe.collate([clip], None)["input_values"]
    np.testing.assert_array_equal(batch.numpy()[0], clip["audio"])
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    assert isinstance(extractor, Wav2Vec2FeatureExtractor)
    assert extractor.sampling_rate == 16_000
    theirs = extractor(clip["audio"], sampling_rate=16_000, return_tensors="pt")["input_values"]
    torch.testing.assert_close(theirs, batch)


@pytest.mark.parametrize(
    ("keys", "size"),
    [
        ({"do_normalize": False}, 16),
        ({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 1]}, 16),
        ({"crop_size": None, "size": 12}, 12),
        ({"crop_size": None, "size": {"height": 12, "width": 12}}, 12),
        ({"crop_size": {"height": 12, "width": 12}, "size": {"shortest_edge": 16}}, 12),
        (
            {
                "crop_size": {"height": 12, "width": 12},
                "size": {"shortest_edge": 16},
                "do_center_crop": False,
            },
            16,
        ),
    ],
    ids=str,
)
def test_an_exported_image_processor_gives_what_the_model_was_trained_on(
    keys: Mapping[str, Any], size: int, changed: Any, tmp_path: Path
) -> None:
    recipe: Any = started("image_classification", changed("image_classification", OWN, keys))
    recipe.export(initial_model(recipe, 1), tmp_path / "out")
    pixels = image_data.Pictures(1, size=size)[0]["image"]
    ours = recipe._pixel_values(recipe.collate([{"image": pixels, "label": 0}], None))
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    theirs = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    assert tuple(ours.shape) == (1, 3, size, size)
    torch.testing.assert_close(ours, theirs)
    if keys.get("do_normalize") is False:
        torch.testing.assert_close(ours[0], torch.from_numpy(pixels).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("lower", [True, False])
def test_a_tokenizers_case_is_the_checkpoints_and_the_exports(
    lower: bool, changed: Any, tmp_path: Path
) -> None:
    recipe: Any = started(
        "sentiment", changed("sentiment", "tokenizer_config.json", {"do_lower_case": lower})
    )
    texts = [{"text": "The PLOT is Good", "label": 1}]
    ids = recipe.collate(texts, None)["input_ids"][0].tolist()
    assert (recipe.tokenizer.unk_token_id in ids) == (not lower)
    recipe.export(initial_model(recipe, 1), tmp_path / "out")
    assert started("sentiment", tmp_path / "out").collate(texts, None)["input_ids"][0].tolist() == ids


def test_padding_comes_after_a_sentence_whatever_the_checkpoint_says_and_the_export_answers_the_same(
    changed: Any, tmp_path: Path
) -> None:
    """The class is told by the first token; where that is padding, it is told by nothing."""
    recipe: Any = started(
        "sentiment", changed("sentiment", "tokenizer_config.json", {"padding_side": "left"})
    )
    texts = ["good", "the plot is really so dull"]
    ids = recipe.collate([{"text": text, "label": 0} for text in texts], None)["input_ids"]
    assert ids[:, 0].tolist() == [recipe.tokenizer.cls_token_id] * 2
    model: Any = initial_model(recipe, 1).eval()
    recipe.export(model, tmp_path / "out")
    assert isinstance(model, BertForSequenceClassification)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classify = pipeline("text-classification", model=str(tmp_path / "out"), device="cpu")
    answers = classify(texts, top_k=None, batch_size=2)
    for one, ours in zip(answers, recipe.predict(model, texts, recipe.options()), strict=True):
        assert {answer["label"]: answer["score"] for answer in one} == pytest.approx(ours.scores, abs=1e-5)


@pytest.mark.parametrize("content", [b"\xff\xfea\0", b""], ids=["UTF-16", "empty"])
def test_a_vocabulary_that_makes_no_tokenizer_is_told(content: bytes, changed: Any) -> None:
    folder = changed("sentiment", "tokenizer_config.json", {})
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_bytes(content)
    with pytest.raises(InputError, match="its config or tokenizer cannot be loaded"):
        started("sentiment", folder)
