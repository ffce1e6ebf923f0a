"""A model that trains in a moment, and clips of tones to tell apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from workspace.experiments.keyword_spotting.settings import (
    AudioAugmentation,
    KeywordSpottingSettings,
    Wav2Vec2Overrides,
)
from workspace.learning.recipe import Recipe, build_recipe

CLASSES = ("low", "middle", "high")
HERTZ = (300.0, 900.0, 2700.0)

SMALL = KeywordSpottingSettings(
    learning_rate=3e-3,
    schedule="one_cycle",
    batch_size=8,
    model=Wav2Vec2Overrides(
        conv_dim=[16, 16],
        conv_kernel=[64, 8],
        conv_stride=[40, 8],
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=16,
        initializer_range=0.1,
        mask_time_length=4,
    ),
    augmentation=AudioAugmentation(shift_ms=50, speed=0.05, gain_db=6, noise=0.5),
)


class Tones(list[dict[str, Any]]):
    """A split: clips of one second, of one tone each, by speakers with a level of their own."""

    def __init__(self, count: int, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        time = np.arange(16000) / 16000
        for i in range(count):
            label = i % len(CLASSES)
            tone = np.sin(
                2 * np.pi * (HERTZ[label] * generator.uniform(0.9, 1.1) * time + generator.uniform())
            )
            audio = (0.1 * tone + 0.01 * generator.standard_normal(16000)).astype(np.float32)
            self.append({"audio": audio, "label": label, "speaker": f"s{i % 5}", "id": f"{i}.wav"})

    @property
    def groups(self) -> list[str]:
        return [sample["speaker"] for sample in self]


def small_recipe(classes: tuple[str, ...] = CLASSES, **changes: Any) -> Recipe:
    """Build the recipe of the small model, with some settings changed."""
    return build_recipe("keyword_spotting", replace(SMALL, **changes), classes, {})
