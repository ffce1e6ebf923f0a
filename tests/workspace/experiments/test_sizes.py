"""Plans whose sizes are sound by themselves and impossible together: told by the setting's name, before any site trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from transformers import BertConfig, DistilBertConfig, ResNetConfig, Wav2Vec2Config, Wav2Vec2Model

from federation.document import Problems
from federation.errors import InputError
from federation.experiments import experiment_named
from federation.plan import load_plan
from federation.plan_building import check_building
from tests.checkout import ROOT
from tests.learning_parts import CLASSES, small_recipe
from workspace.experiments.image_classification import sizes as of_images
from workspace.experiments.keyword_spotting import sizes as of_speech
from workspace.experiments.keyword_spotting.recipe import KeywordSpotting
from workspace.experiments.keyword_spotting.settings import KeywordSpottingSettings, Wav2Vec2Overrides
from workspace.experiments.sentiment import settings as of_sentences
from workspace.experiments.sentiment.recipe import Sentiment
from workspace.learning.recipe import build_recipe
from workspace.learning.training import initial_model

ID = "somebody/wav2vec2"


def check(plan: str, sets: Sequence[str]) -> None:
    """Do what ``fed plan check`` does."""
    file = str(ROOT / "plans" / plan)
    check_building(load_plan(file, [f"task_runner.settings.{one}" for one in sets]), file)


@pytest.mark.parametrize(
    ("plan", "sets", "said"),
    [
        (
            "keyword_spotting_tiny.yaml",
            ["model.mask_time_length=50"],
            "task_runner.settings: model.mask_time_length is 50, and must be at most the 49 frames",
        ),
        (
            "keyword_spotting_tiny.yaml",
            [
                "model.conv_stride=[160, 16, 5]",
                "model.mask_time_length=null",
                "model.conv_kernel=[400, 8, 3]",
            ],
            "model.mask_time_length is 10, and must be at most the 1 frames",
        ),
        (
            "keyword_spotting_tiny.yaml",
            ["model.mask_feature_length=97", "model.mask_feature_prob=0.1"],
            "model.mask_feature_length is 97, and must be at most the 96 of hidden_size",
        ),
        (
            "keyword_spotting_tiny.yaml",
            ["model.conv_stride=[400, 40, 5]"],
            "model.conv_kernel and conv_stride leave no frame of a clip's 16000 samples",
        ),
        (
            "keyword_spotting_tiny.yaml",
            ["model.conv_stride=null"],
            "model.conv_dim, conv_kernel and conv_stride have 3, 3 and 7 entries",
        ),
        ("keyword_spotting_tiny.yaml", ["model.num_attention_heads=5"], "num_attention_heads must divide"),
        (
            "keyword_spotting_tiny.yaml",
            ["model.num_conv_pos_embedding_groups=7"],
            "model.num_conv_pos_embedding_groups must divide hidden_size: 7 does not divide 96",
        ),
        (
            "keyword_spotting_tiny.yaml",
            ["model.conv_dim=[63, 96, 96]"],
            "filterbank_start needs an even number of channels .* model.conv_dim has 63",
        ),
        (
            "keyword_spotting_tiny.yaml",
            ["lora.target_modules=[q_proj, nix]"],
            "task_runner.settings: lora.target_modules: 'nix' is the end of no linear layer's name; they are",
        ),
        (
            "keyword_spotting_lora.yaml",
            ["lora.target_modules=[query]"],
            "lora.target_modules: 'query' is the",
        ),
        ("sentiment_lora.yaml", ["lora.target_modules=[q_proj]"], "lora.target_modules: 'q_proj' is the end"),
        ("sentiment_tiny.yaml", ["lora.target_modules=[query]"], "lora.target_modules: 'query' is the end"),
        ("sentiment_tiny.yaml", ["model.num_attention_heads=5"], "model.num_attention_heads must divide"),
        (
            "sentiment_tiny.yaml",
            ["max_tokens=65"],
            "model.max_position_embeddings is 64, and must be at least max_tokens: 65",
        ),
        (
            "sentiment_tiny.yaml",
            ["max_tokens=null", "model.max_position_embeddings=2"],
            "model.max_position_embeddings is 2, and must be at least 3, which one word takes",
        ),
        (
            "image_tiny.yaml",
            ["image_size=8"],
            "model.depths has 3 stages, which halve an image 4 times: with an image_size of 8",
        ),
        ("image_tiny.yaml", ["model.depths=null"], "model.hidden_sizes and depths have 3 and 4 entries"),
        (
            "image_tiny.yaml",
            ["model.layer_type=bottleneck", "model.hidden_sizes=[3, 8, 16]"],
            "model.hidden_sizes must be at least 4 with layer_type: bottleneck",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_impossible_together_is_told_by_its_name(plan: str, sets: list[str], said: str) -> None:
    check(plan, [])
    with pytest.raises(Problems, match=said) as caught:
        check(plan, sets)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "sets",
    [
        ["model.mask_time_length=49"],
        ["model.mask_time_length=50", "model.mask_time_prob=0"],
        ["model.mask_time_length=50", "model.apply_spec_augment=false"],
        ["model.mask_feature_length=97"],
        ["filterbank_start=false", "model.conv_dim=[63, 96, 96]"],
        ["lora.rank=2"],
    ],
    ids=" ".join,
)
def test_what_is_just_possible_is_sound(sets: list[str]) -> None:
    check("keyword_spotting_tiny.yaml", sets)


@pytest.mark.parametrize(
    ("defaults", "config"),
    [
        (of_speech.DEFAULTS, Wav2Vec2Config()),
        (of_images.DEFAULTS, ResNetConfig()),
        (of_sentences.DEFAULTS, BertConfig()),
        (of_sentences.DEFAULTS, DistilBertConfig()),
    ],
    ids=["wav2vec2", "resnet", "bert", "distilbert"],
)
def test_the_defaults_are_the_librarys(defaults: dict[str, Any], config: Any) -> None:
    theirs = {key: getattr(config, key) for key in defaults}
    assert {key: tuple(v) if isinstance(v, list) else v for key, v in theirs.items()} == defaults


@pytest.mark.parametrize("seed", range(40))
def test_what_is_computed_of_a_wav2vec2_is_what_becomes_of_it(seed: int) -> None:
    """Whatever is found sound is built and trained, and whatever is not, is not."""
    generator = np.random.default_rng(seed)

    def one_of(*values: int) -> int:
        return int(generator.choice(values))

    given = {
        "conv_dim": [4, 4],
        "conv_kernel": [one_of(10, 64, 9000), one_of(2, 5, 20)],
        "conv_stride": [one_of(100, 400, 2000, 7000), one_of(2, 8)],
        "hidden_size": one_of(12, 16),
        "num_hidden_layers": 1,
        "num_attention_heads": one_of(1, 2, 2, 3),
        "intermediate_size": 4,
        "num_conv_pos_embeddings": one_of(1, 4, 5),
        "num_conv_pos_embedding_groups": one_of(1, 2, 2, 5),
        "mask_time_prob": 0.5,
        "mask_time_length": one_of(1, 2, 4, 10, 40),
        "mask_feature_prob": 0.5,
        "mask_feature_length": one_of(1, 12, 16),
    }
    try:
        model = Wav2Vec2Model(Wav2Vec2Config(**given)).train()
        frames = model(torch.zeros(2, of_speech.CLIP)).last_hidden_state.shape[1]
    except (ValueError, RuntimeError):
        frames = 0
    assert (of_speech.contradiction(given) is None) == (frames > 0)
    if frames:
        assert of_speech.frames(given["conv_kernel"], given["conv_stride"]) == frames


def test_a_checkpoint_under_a_plans_settings_is_checked_where_it_is_loaded(tmp_path: Path) -> None:
    """What the settings are set over is known where the files are: at the workspace, before anything is sent."""
    small_recipe().export(initial_model(small_recipe(), 1), tmp_path)
    over = Wav2Vec2Overrides(mask_time_length=50)
    recipe = KeywordSpotting(KeywordSpottingSettings(checkpoint=ID, model=over), CLASSES, {ID: str(tmp_path)})
    with pytest.raises(InputError, match=f"checkpoint {ID}: mask_time_length is 50, .* the 49 frames"):
        recipe.build_model()


@pytest.mark.parametrize(
    ("experiment", "changes", "linear"),
    [
        ("keyword_spotting", {}, of_speech.LINEAR),
        ("sentiment", {"model": {"architecture": "bert"}}, of_sentences.LINEAR["bert"]),
        ("sentiment", {"model": {"architecture": "distilbert"}}, of_sentences.LINEAR["distilbert"]),
    ],
)
def test_the_linear_layers_that_adapters_may_name_are_the_models(
    experiment: str, changes: dict[str, Any], linear: frozenset[str]
) -> None:
    words = {"vocabulary": ["word"]} if experiment == "sentiment" else {}
    settings = TypeAdapter(experiment_named(experiment).settings).validate_python({**changes, **words})
    with torch.device("meta"):
        model = build_recipe(experiment, settings, CLASSES, {}).build_model()
    modules = model.named_modules()
    assert {n.rpartition(".")[2] for n, m in modules if isinstance(m, torch.nn.Linear)} == linear


def test_more_classes_than_a_regression_has_room_for_are_told_before_it_is_trained() -> None:
    model = of_sentences.BertOverrides(hidden_size=4, num_attention_heads=1)
    settings = of_sentences.SentimentSettings(strategy="features", model=model, vocabulary=["word"])
    with pytest.raises(InputError, match="strategy: features: 3 classes are too many for a hidden size of 4"):
        Sentiment(settings, CLASSES, {})


@pytest.fixture
def from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have our experiment be one whose settings do not compute what is impossible."""
    ours = experiment_named("keyword_spotting")
    outside = replace(ours, computes_sizes=False)
    monkeypatch.setattr("federation.plan_building.experiment_named", lambda name: outside)


@pytest.mark.usefixtures("from_outside")
def test_of_an_experiment_that_computes_nothing_the_model_is_built_and_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[torch.nn.Module] = []
    build = KeywordSpotting.build_model
    monkeypatch.setattr(KeywordSpotting, "build_model", lambda self: built.append(build(self)))
    check("keyword_spotting_tiny.yaml", ["model.classifier_proj_size=65536"])
    held = [parameter.numel() for parameter in built[0].parameters() if parameter.device.type != "meta"]
    assert sum(held) < 1000 < sum(parameter.numel() for parameter in built[0].parameters())
    check("keyword_spotting.yaml", [])
    assert len(built) == 1  # a checkpoint is at each site


@pytest.mark.usefixtures("from_outside")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            AssertionError("sizes\nfrom outside"),
            r"no model can be made of them \(AssertionError: sizes from outside\)",
        ),
        (InputError("task_runner.settings.depth: is odd"), "task_runner.settings.depth: is odd"),
    ],
)
def test_what_its_recipe_complains_of_is_told_in_one_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: KeywordSpotting) -> Any:
        raise error

    monkeypatch.setattr(KeywordSpotting, "build_model", broken)
    with pytest.raises(Problems, match=said):
        check("keyword_spotting_tiny.yaml", [])
