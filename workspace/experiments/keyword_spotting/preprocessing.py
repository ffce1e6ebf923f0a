"""The feature extractor of keyword spotting: the waveform at 16 kHz, normalised or not as the checkpoint has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Wav2Vec2FeatureExtractor

from workspace.experiments.keyword_spotting.augmentation import SAMPLING_RATE
from workspace.learning.preprocessing import read_preprocessing

KIND = "Wav2Vec2FeatureExtractor"


def feature_extractor(checkpoint: Path | None) -> Any:
    """Return the feature extractor that says how clips are prepared here.

    Parameters
    ----------
    checkpoint
        The folder of the checkpoint; None, or one that says nothing, means the library's defaults.

    Raises
    ------
    InputError
        If the checkpoint wants its input otherwise than clips are: at another rate, or no waveforms.
    """
    known = read_preprocessing(checkpoint, "feature_extractor")
    if known.said.get("feature_extractor_type", KIND) != KIND:
        raise known.refused("feature_extractor_type", f"keyword spotting prepares clips as {KIND} does")
    if known.said.get("sampling_rate", SAMPLING_RATE) != SAMPLING_RATE:
        hint = f"clips have {SAMPLING_RATE} samples a second here: use a checkpoint that was made for as many"
        raise known.refused("sampling_rate", hint)
    if known.said.get("feature_size", 1) != 1:
        raise known.refused("feature_size", "the model reads the waveform, which has 1")
    return Wav2Vec2FeatureExtractor(
        sampling_rate=SAMPLING_RATE,
        do_normalize=known.switch("do_normalize", True),
        return_attention_mask=known.switch("return_attention_mask", False),
    )
