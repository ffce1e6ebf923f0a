"""Augmentation of images: drawn with numpy while a batch is made, done by torch where the model is.

So a batch carries its draws as tensors, and they are the same whatever the device. A geometric change is an affine map for each
image: where in the image, in coordinates from -1 to 1, each pixel of the view is taken from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from workspace.experiments.image_classification.randaugment import OPERATIONS, randaugment
from workspace.experiments.image_classification.settings import OFFLINE, ImageAugmentation
from workspace.learning.recipe import Sample, Samples

Array = npt.NDArray[Any]

# The fixed views of an image: mirrored, turned by degrees, and the share of its side that is seen. The first is the image
# itself; doubling takes two of them, quadrupling four.
VIEWS = {
    True: (
        (False, 0, 1.0),
        (True, 0, 1.0),
        (False, 0, 0.8),
        (True, 0, 0.8),
        (False, 10, 0.9),
        (True, 10, 0.9),
        (False, -10, 0.9),
        (True, -10, 0.9),
    ),
    False: (
        (False, 0, 1.0),
        (False, 0, 0.85),
        (False, 10, 1.0),
        (False, -10, 1.0),
        (False, 5, 0.9),
        (False, -5, 0.9),
        (False, 15, 0.95),
        (False, -15, 0.95),
    ),
}


class Enlarged(Samples):
    """A split in which each sample stands several times, one after the other, with the number of its view as ``view``."""

    def __init__(self, split: Samples, copies: int) -> None:
        self._split, self._copies = split, copies

    def __len__(self) -> int:
        return len(self._split) * self._copies

    def __getitem__(self, index: int, /) -> Sample:
        return {**self._split[index // self._copies], "view": index % self._copies}


def enlarged(split: Samples, settings: ImageAugmentation) -> Samples:
    """Enlarge a split by the fixed views of an offline policy; the split itself under any other."""
    return Enlarged(split, OFFLINE[settings.policy]) if settings.policy in OFFLINE else split


def draw(
    samples: Sequence[Sample], settings: ImageAugmentation, generator: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Decide what is done to each image of a batch.

    Returns
    -------
    dict of str to torch.Tensor
        Of a policy that needs them: ``maps`` (float32 [n, 2, 3]); ``colours`` (float32 [n, 3]: factors of brightness,
        contrast and saturation); ``operations`` (int64 [n, N]) and ``signs`` (int64 [n, N]: -1 or 1).
    """
    count = len(samples)
    drawn: dict[str, Array] = {}
    if settings.policy in OFFLINE:
        views = VIEWS[settings.flip]
        drawn["maps"] = np.stack([_view(*views[sample["view"]]) for sample in samples])
    elif settings.policy != "none":
        drawn["maps"] = _random_crops(count, settings, generator)
    if settings.policy == "standard":
        drawn["colours"] = generator.uniform(1 - settings.colour, 1 + settings.colour, (count, 3))
    if settings.policy == "randaugment":
        drawn["operations"] = generator.integers(0, len(OPERATIONS), (count, settings.operations))
        drawn["signs"] = generator.integers(0, 2, (count, settings.operations)) * 2 - 1
    kinds = {"operations": np.int64, "signs": np.int64}
    return {
        name: torch.from_numpy(value.astype(kinds.get(name, np.float32))) for name, value in drawn.items()
    }


def augment(
    images: torch.Tensor, batch: Mapping[str, torch.Tensor], settings: ImageAugmentation
) -> torch.Tensor:
    """Do to images what was drawn for them.

    Parameters
    ----------
    images : torch.Tensor of float, shape [n, 3, height, width]
        From 0 to 255.
    batch : mapping of str to torch.Tensor
        Holds what `draw` has returned, on the device of the images.

    Returns
    -------
    torch.Tensor
        Of the same shape, from 0 to 255.
    """
    if "maps" in batch:
        grid = functional.affine_grid(batch["maps"], list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    if "colours" in batch:
        images = _coloured(images, batch["colours"])
    if "operations" in batch:
        images = randaugment(images, batch["operations"], batch["signs"], settings.magnitude)
    return images


def _view(mirrored: bool, degrees: float, side: float) -> Array:
    angle = np.deg2rad(degrees)
    turned = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]
    return np.array(turned) * side * [-1 if mirrored else 1, 1, 1]


def _random_crops(count: int, settings: ImageAugmentation, generator: np.random.Generator) -> Array:
    """Draw crops as Inception's (Szegedy et al. 2015): an area, a ratio of sides from 3:4 to 4:3, a place."""
    area = generator.uniform(settings.smallest_crop, 1, count)
    ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3), count))
    width, height = np.minimum(np.sqrt(area * ratio), 1), np.minimum(np.sqrt(area / ratio), 1)
    x, y = generator.uniform(-1, 1, (2, count))
    mirrored = generator.integers(0, 2, count) if settings.flip else np.zeros(count)
    maps = np.zeros((count, 2, 3))
    maps[:, 0, 0], maps[:, 0, 2] = np.where(mirrored, -width, width), x * (1 - width)
    maps[:, 1, 1], maps[:, 1, 2] = height, y * (1 - height)
    return maps


def _coloured(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blend each image with black, with its mean grey and with its own greys, as torchvision's ColorJitter does."""
    brightness, contrast, saturation = factors.T.reshape(3, -1, 1, 1, 1).unbind()
    images = (images * brightness).clamp(0, 255)
    mean = _grey(images).mean((2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).clamp(0, 255)
    grey = _grey(images)
    return (grey + (images - grey) * saturation).clamp(0, 255)


def _grey(images: torch.Tensor) -> torch.Tensor:
    return 0.299 * images[:, 0:1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]
