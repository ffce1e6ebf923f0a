"""Image classification: a residual network with a new head, fine-tuned by one of several strategies.

Plain PyTorch and transformers. To train it without any federation::

    recipe = ImageClassification(settings, classes=("daisy", "rose"), checkpoints={})
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
from transformers import ResNetConfig, ResNetForImageClassification

from federation import statistics
from federation.errors import InputError
from workspace.experiments.image_classification.augmentation import augment, draw, enlarged
from workspace.experiments.image_classification.preprocessing import image_processor
from workspace.experiments.image_classification.settings import ImageClassificationSettings
from workspace.learning.checkpoints import checkpoint_folder, load_pretrained
from workspace.learning.recipe import Batch, Prediction, Recipe, Role, Sample, Samples, role_by_gradient

Array = npt.NDArray[Any]

HEAD = "classifier."
NORM = ".normalization."  # what ResNetForImageClassification calls every BatchNorm
STAGE = "resnet.encoder.stages."

# What transformers raises for files or settings that make no model.
_NO_MODEL = (OSError, ValueError, TypeError, RuntimeError, SafetensorError, StrictDataclassError)


class ImageClassification(Recipe):
    """The recipe of image classification (`workspace.learning.recipe.Recipe`).

    Parameters
    ----------
    settings : ImageClassificationSettings
        As the plan gives them.
    classes : sequence of str
        In the order of the labels.
    checkpoints : mapping of str to str
        Hub ids and the local folders that hold them.
    """

    parts = {"encoder": ("resnet.*",), "head": ("classifier.*",)}

    def __init__(
        self, settings: ImageClassificationSettings, classes: Sequence[str], checkpoints: Mapping[str, str]
    ) -> None:
        self.settings = settings
        self.classes = tuple(classes)
        self._checkpoint = (
            checkpoint_folder(settings.checkpoint, checkpoints) if settings.checkpoint else None
        )
        self._processor = image_processor(self._checkpoint, settings.image_size)
        self._stages = 0

    def build_model(self) -> nn.Module:
        """Build the model from its checkpoint, or with random weights; see `Recipe`.

        Raises
        ------
        InputError
            If the checkpoint's files or the plan's overrides make no residual network.
        """
        try:
            model = self._random_model() if self._checkpoint is None else self._pretrained_model()
        except _NO_MODEL as error:
            start = (
                f"checkpoint {self.settings.checkpoint}" if self._checkpoint else "task_runner.settings.model"
            )
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{start}: no ResNetForImageClassification can be made of it: {reason}"
            ) from error
        self._stages = len(model.config.depths)
        if self.settings.strategy == "head":
            model.resnet.requires_grad_(False)
        if self.settings.batch_norm == "freeze":
            for norm in _batch_norms(model):
                norm.requires_grad_(False)
        return cast(nn.Module, model)

    def training_samples(self, split: Samples) -> Samples:
        """Enlarge the training set by the fixed views of an offline policy; see `Recipe`."""
        return enlarged(split, self.settings.augmentation)

    def collate(self, samples: Sequence[Sample], generator: np.random.Generator | None) -> Batch:
        """Stack images as they are, with what augmentation has drawn for them beside."""
        if len(shapes := {sample["image"].shape for sample in samples}) > 1:
            sizes = ", ".join(sorted("x".join(map(str, shape)) for shape in shapes))
            raise InputError(f"images of several sizes ({sizes}): give all shards the same image_size")
        images = torch.from_numpy(np.stack([sample["image"] for sample in samples]))
        labels = torch.tensor([sample["label"] for sample in samples])
        batch = {"images": images.permute(0, 3, 1, 2).contiguous(), "labels": labels}
        return batch if generator is None else batch | draw(samples, self.settings.augmentation, generator)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, Array]]:
        """Return the mean cross-entropy of a batch and its statistics; see `Recipe`."""
        labels = batch["labels"]
        if model.training:
            for norm in _batch_norms(model):
                # What is not trained keeps its statistics too; those of a single image would tell nothing.
                norm.train(norm.weight.requires_grad and len(labels) > 1)
        logits = model(self._pixel_values(batch)).logits.float()
        smoothing = self.settings.label_smoothing if model.training else 0.0
        losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        sums = statistics.classification(
            labels.cpu().numpy(),
            logits.argmax(-1).cpu().numpy(),
            losses.detach().cpu().numpy(),
            len(self.classes),
        )
        return losses.mean(), sums

    def role(self, name: str, tensor: torch.Tensor) -> Role:
        """Say what travels; BatchNorm as the setting ``batch_norm`` has it; see `Recipe`."""
        if NORM in name and tensor.is_floating_point():
            if self.settings.batch_norm == "local":
                return "local"
            is_statistic = not isinstance(tensor, nn.Parameter)
            if self.settings.batch_norm == "aggregate" and self.settings.strategy != "head" and is_statistic:
                return "exchanged"
        return role_by_gradient(name, tensor)

    def learning_rate_share(self, name: str, progress: float) -> float:
        """Give the head its own learning rate, and let stages rest that are not unfrozen yet; see `Recipe`.

        Gradual unfreezing (Howard & Ruder 2018) goes from the head down, one stage after another in equal intervals.
        """
        strategy = self.settings.strategy
        depth = self._depth(name)
        if strategy == "gradual" and progress < self.settings.unfrozen_by * depth / (self._stages + 1):
            return 0.0
        if depth == 0 and strategy in ("discriminative", "gradual"):
            return self.settings.head_learning_rate_factor
        return 1.0

    def export(self, model: nn.Module, folder: Path) -> None:
        """Write a folder that ``transformers.pipeline("image-classification")`` loads."""
        cast(Any, model).save_pretrained(folder)
        self._processor.save_pretrained(folder)

    def predict(
        self, model: nn.Module, inputs: Sequence[str], options: Any, attention: bool = False
    ) -> list[Prediction]:
        """Say which class each image file shows; see `Recipe`. Images are prepared as the exported processor does it."""
        if attention:
            raise InputError("image classification draws no attention maps; leave --attention out")
        from shard_descriptors.images.pixels import open_image

        device = next(model.parameters()).device
        predictions = []
        for file in inputs:
            pixels = self._processor(open_image(Path(file)), return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                logits = cast(Any, model)(pixels.to(device)).logits[0].float()
            scores = dict(zip(self.classes, logits.softmax(-1).tolist(), strict=True))
            predictions.append(Prediction(file, max(scores, key=scores.__getitem__), scores))
        return predictions

    def _pixel_values(self, batch: Batch) -> torch.Tensor:
        """Scale, augment and normalise images of a batch where they are: uint8 to float32 [n, 3, size, size]."""
        images = batch["images"].float()
        size = self._processor.size["shortest_edge"]
        if tuple(images.shape[-2:]) != (size, size):
            images = functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
        images = augment(images, batch, self.settings.augmentation)
        mean, std = (
            torch.tensor(values, device=images.device).reshape(3, 1, 1)
            for values in (self._processor.image_mean, self._processor.image_std)
        )
        return (images / 255 - mean) / std

    def _depth(self, name: str) -> int:
        """Count from the top where a parameter is: the head, the stages, the embedder."""
        if name.startswith(HEAD):
            return 0
        if name.startswith(STAGE):
            return self._stages - int(name[len(STAGE) :].partition(".")[0])
        return self._stages + 1

    def _config_overrides(self) -> dict[str, Any]:
        given = asdict(self.settings.model) if self.settings.model else {}
        labels = {
            "id2label": dict(enumerate(self.classes)),
            "label2id": {n: i for i, n in enumerate(self.classes)},
        }
        return {key: value for key, value in given.items() if value is not None} | labels

    def _random_model(self) -> Any:
        return ResNetForImageClassification(ResNetConfig(**self._config_overrides()))

    def _pretrained_model(self) -> Any:
        return load_pretrained(
            ResNetForImageClassification, cast(Path, self._checkpoint), (HEAD,), **self._config_overrides()
        )


def _batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
