"""RandAugment (Cubuk et al. 2020): N random operations for each image, all of the same magnitude.

Images of a batch that get the same operation are changed together. The operations and their ranges are those of
``torchvision.transforms.v2.RandAugment``, which draws one operation for a whole batch and from torch's own generator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as v2

STRONGEST = 30

_affine: Callable[..., Any] = partial(
    v2.affine,
    angle=0.0,
    translate=[0, 0],
    scale=1.0,
    shear=[0.0, 0.0],
    interpolation=InterpolationMode.NEAREST,
)


def _degrees(slope: float) -> float:
    return float(torch.rad2deg(torch.atan(torch.tensor(slope))))


# Each takes uint8 images and a strength from -1 to 1; those that have no direction look at its size alone.
OPERATIONS: tuple[Callable[[torch.Tensor, float], Any], ...] = (
    lambda images, strength: images,
    lambda images, strength: _affine(images, shear=[_degrees(0.3 * strength), 0.0], center=[0, 0]),
    lambda images, strength: _affine(images, shear=[0.0, _degrees(0.3 * strength)], center=[0, 0]),
    lambda images, strength: _affine(images, translate=[int(150 / 331 * images.shape[-1] * strength), 0]),
    lambda images, strength: _affine(images, translate=[0, int(150 / 331 * images.shape[-2] * strength)]),
    lambda images, strength: v2.rotate(images, 30 * strength, InterpolationMode.NEAREST),
    lambda images, strength: v2.adjust_brightness(images, 1 + 0.9 * strength),
    lambda images, strength: v2.adjust_saturation(images, 1 + 0.9 * strength),
    lambda images, strength: v2.adjust_contrast(images, 1 + 0.9 * strength),
    lambda images, strength: v2.adjust_sharpness(images, 1 + 0.9 * strength),
    lambda images, strength: v2.posterize(images, 8 - round(4 * abs(strength))),
    lambda images, strength: v2.solarize(images, 255 * (1 - abs(strength))),
    lambda images, strength: v2.autocontrast(images),
    lambda images, strength: v2.equalize(images),
)


def randaugment(
    images: torch.Tensor, operations: torch.Tensor, signs: torch.Tensor, magnitude: int
) -> torch.Tensor:
    """Apply to each image its operations, one after the other.

    Parameters
    ----------
    images : torch.Tensor of float, shape [n, 3, height, width]
        From 0 to 255.
    operations, signs : torch.Tensor of int64, shape [n, N]
        Which operations, by their place in `OPERATIONS`; and their directions, -1 or 1.
    magnitude : int
        How strong, from 0 to 30.

    Returns
    -------
    torch.Tensor
        As ``images``, rounded to whole numbers.
    """
    changed = images.round().clamp(0, 255).to(torch.uint8)
    # One number for an operation and its direction; on the CPU, so that the device is asked only once.
    kinds = (operations * 2 + (signs > 0)).cpu()
    for layer in kinds.T:
        for kind in layer.unique().tolist():
            operation, upwards = divmod(kind, 2)
            chosen = (layer == kind).nonzero()[:, 0].to(images.device)
            strength = magnitude / STRONGEST * (1 if upwards else -1)
            changed[chosen] = OPERATIONS[operation](changed[chosen], strength)
    return changed.to(images.dtype)
