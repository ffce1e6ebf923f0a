"""The settings of the learning code: checked where there is no torch, and strict about what they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from federation.plan import load_plan
from tests.checkout import PLANS
from workspace.experiments.keyword_spotting.settings import KeywordSpottingSettings
from workspace.experiments.sentiment.settings import SentimentSettings

WITHOUT_TORCH = """
import sys

class NoLearning:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "peft", "torchaudio", "torchvision"):
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, NoLearning())
import federation.statistics
from pydantic import TypeAdapter
from federation.experiments import usable_experiments
from federation.templates import known_templates

every = [template.settings for template in known_templates().values() if template.settings]
for settings in [*every, *(experiment.settings for experiment in usable_experiments().values())]:
    TypeAdapter(settings).json_schema()
print(*usable_experiments())
"""


def test_every_template_is_checked_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        "image_classification",
        "keyword_spotting",
        "sentiment",
        "translation",
    }


@pytest.mark.parametrize("path", sorted(PLANS.glob("keyword_spotting*.yaml")), ids=lambda path: path.stem)
def test_every_plan_is_sound(path: Path) -> None:
    plan = load_plan(path)
    settings = plan.task_runner
    assert isinstance(settings, KeywordSpottingSettings)
    assert len(plan.federation.classes) == 12
    if settings.checkpoint:
        assert settings.freeze_feature_encoder
        assert settings.batch_size * settings.accumulation == 128
        assert settings.autocast == "bf16"


@pytest.mark.parametrize("path", sorted(PLANS.glob("sentiment*.yaml")), ids=lambda path: path.stem)
def test_every_sentiment_plan_is_sound(path: Path) -> None:
    plan = load_plan(path)
    settings = plan.task_runner
    assert isinstance(settings, SentimentSettings)
    assert plan.federation.classes == ["negative", "positive"]
    assert bool(settings.checkpoint) != bool(settings.vocabulary)
    assert (settings.strategy == "features") == (path.stem == "sentiment_features")
    assert bool(settings.lora) == (path.stem == "sentiment_lora")


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"warmup": 1.0},
        {"batch_size": 0},
        {"epochs": 0},
        {"schedule": "cosine"},
        {"checkpoint": "../secrets"},
        {"checkpoint": "/etc"},
        {"checkpoint": "a/b/c"},
        {"model": {"conv_dim": []}},
        {"model": {"conv_dim": [8], "conv_kernel": [3, 3], "conv_stride": [2, 2]}},
        {"lora": {"rank": 0}},
        {"augmentation": {"noise": 2.0}},
        {"augmentation": {"noise_snr_db": [30.0, 10.0]}},
        {"filterbank_start": True, "checkpoint": "facebook/wav2vec2-base"},
    ],
    ids=str,
)
def test_a_setting_out_of_its_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(KeywordSpottingSettings).validate_python(wrong)
