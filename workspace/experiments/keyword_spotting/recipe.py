"""Keyword spotting: a wav2vec 2.0 encoder with a classification head, on clips of one second (SUPERB KS).

Plain PyTorch and transformers. To train it without any federation::

    recipe = KeywordSpotting(settings, classes=("yes", "no"), checkpoints={})
    model = initial_model(recipe, seed=1)
    train_round(recipe, model, split, settings, rounds=1, round_number=0, seed=1, site="here", device="cpu")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from federation import statistics
from federation.errors import InputError
from workspace.experiments.keyword_spotting.augmentation import augment
from workspace.experiments.keyword_spotting.filterbank import start_as_filterbank
from workspace.experiments.keyword_spotting.preprocessing import feature_extractor
from workspace.experiments.keyword_spotting.settings import KeywordSpottingSettings
from workspace.experiments.keyword_spotting.sizes import contradiction
from workspace.learning.adapters import merged, with_adapters
from workspace.learning.checkpoints import checkpoint_folder, load_pretrained
from workspace.learning.recipe import Batch, Prediction, Recipe, Sample

Array = npt.NDArray[Any]

HEAD = ("projector", "classifier")
ATTENTION = ("q_proj", "v_proj")

# What transformers raises for files or settings that make no model.
_NO_MODEL = (OSError, ValueError, TypeError, RuntimeError, SafetensorError, StrictDataclassError)


class KeywordSpotting(Recipe):
    """The recipe of keyword spotting (`workspace.learning.recipe.Recipe`).

    Parameters
    ----------
    settings : KeywordSpottingSettings
        As the plan gives them.
    classes : sequence of str
        The words, in the order of the labels.
    checkpoints : mapping of str to str
        Hub ids and the local folders that hold them.
    """

    parts = {"encoder": ("wav2vec2.*",), "head": ("projector.*", "classifier.*")}

    def __init__(
        self, settings: KeywordSpottingSettings, classes: Sequence[str], checkpoints: Mapping[str, str]
    ) -> None:
        self.settings = settings
        self.classes = tuple(classes)
        self._checkpoint = (
            checkpoint_folder(settings.checkpoint, checkpoints) if settings.checkpoint else None
        )
        self._feature_extractor = feature_extractor(self._checkpoint)

    def build_model(self) -> nn.Module:
        """Build the model from its checkpoint, or with random weights; see `Recipe`.

        Raises
        ------
        InputError
            If the checkpoint's files or the plan's overrides make no wav2vec 2.0 model.
        """
        try:
            model = self._random_model() if self._checkpoint is None else self._pretrained_model()
        except _NO_MODEL as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self._start}: no Wav2Vec2ForSequenceClassification can be made of it: {reason}"
            ) from error
        if wrong := contradiction(model.config.to_dict()):
            raise InputError(f"{self._start}: {wrong}")
        # Also keeps the encoder from computing gradients of the waveform, which nobody uses.
        model.freeze_feature_encoder()
        model.wav2vec2.feature_extractor.requires_grad_(not self.settings.freeze_feature_encoder)
        if self.settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if self.settings.lora is None:
            return cast(nn.Module, model)
        return with_adapters(model, self.settings.lora, ATTENTION, HEAD)

    def collate(self, samples: Sequence[Sample], generator: np.random.Generator | None) -> Batch:
        """Stack clips, augmented if there is a generator, normalised as the feature extractor does it."""
        clips = np.stack([np.asarray(sample["audio"], np.float32) for sample in samples])
        if generator is not None:
            clips = augment(clips, self.settings.augmentation, generator)
        if self._feature_extractor.do_normalize:
            clips = clips - clips.mean(axis=1, keepdims=True)
            clips = clips / np.sqrt(clips.var(axis=1, keepdims=True) + 1e-7)
        labels = np.array([sample["label"] for sample in samples], np.int64)
        return {"input_values": torch.from_numpy(clips), "labels": torch.from_numpy(labels)}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, Array]]:
        """Return the mean cross-entropy of a batch and its statistics; see `Recipe`."""
        labels = batch["labels"]
        logits = model(batch["input_values"]).logits.float()
        smoothing = self.settings.label_smoothing if model.training else 0.0
        losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        sums = statistics.classification(
            labels.cpu().numpy(),
            logits.argmax(-1).cpu().numpy(),
            losses.detach().cpu().numpy(),
            len(self.classes),
        )
        return losses.mean(), sums

    def export(self, model: nn.Module, folder: Path) -> None:
        """Write a folder that ``transformers.pipeline("audio-classification")`` loads, adapters merged."""
        whole: Any = merged(model) if self.settings.lora else model
        whole.save_pretrained(folder)
        self._feature_extractor.save_pretrained(folder)

    def predict(
        self, model: nn.Module, inputs: Sequence[str], options: Any, attention: bool = False
    ) -> list[Prediction]:
        """Say which word each audio file holds; see `Recipe`. Files are resampled, and padded or cropped to one second."""
        if attention:
            raise InputError("keyword spotting draws no attention maps; leave --attention out")
        from shard_descriptors.speech.audio import as_float, read_clip

        device = next(model.parameters()).device
        predictions = []
        for file in inputs:
            batch = self.collate([{"audio": as_float(read_clip(Path(file))), "label": 0}], None)
            with torch.inference_mode():
                logits = model(batch["input_values"].to(device)).logits[0].float()
            scores = dict(zip(self.classes, logits.softmax(-1).tolist(), strict=True))
            predictions.append(Prediction(file, max(scores, key=scores.__getitem__), scores))
        return predictions

    @property
    def _start(self) -> str:
        """What the model is made of, as errors call it."""
        return f"checkpoint {self.settings.checkpoint}" if self._checkpoint else "task_runner.settings.model"

    def _config_overrides(self) -> dict[str, Any]:
        given = asdict(self.settings.model) if self.settings.model else {}
        labels = {
            "id2label": dict(enumerate(self.classes)),
            "label2id": {n: i for i, n in enumerate(self.classes)},
        }
        return {key: value for key, value in given.items() if value is not None} | labels

    def _random_model(self) -> Any:
        model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**self._config_overrides()))
        if self.settings.filterbank_start:
            start_as_filterbank(model.wav2vec2.feature_extractor.conv_layers[0].conv)
        return model

    def _pretrained_model(self) -> Any:
        # What stands for masked frames is part of no encoder that was trained without masking.
        may_be_new = (*HEAD, "wav2vec2.masked_spec_embed")
        return load_pretrained(
            Wav2Vec2ForSequenceClassification,
            cast(Path, self._checkpoint),
            may_be_new,
            **self._config_overrides(),
        )
