"""The image processor of image classification: the middle of an image, scaled, normalised as the checkpoint has it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from PIL.Image import Resampling
from transformers import CLIPImageProcessor

from workspace.experiments.image_classification.sizes import DEFAULT_SIZE, LARGEST, SMALLEST
from workspace.learning.preprocessing import Preprocessing, read_preprocessing

# Of ImageNet, in RGB: what every published ResNet was trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = 1 / 255


def image_processor(checkpoint: Path | None, size: int | None) -> Any:
    """Return the processor that is exported, and whose size, mean and deviation images are given here.

    Parameters
    ----------
    checkpoint
        The folder of the checkpoint; None, or one that says nothing, means ImageNet's.
    size
        Pixels of a side as the plan has it; None means the checkpoint's.

    Raises
    ------
    InputError
        If the checkpoint wants its images otherwise than it can be done here, or says what cannot be.
    """
    known = read_preprocessing(checkpoint, "image_processor")
    if known.switch("do_flip_channel_order", False):
        raise known.refused("do_flip_channel_order", "images are RGB here, in this order")
    scale = known.said.get("rescale_factor", SCALE)
    if not known.switch("do_rescale", True):
        raise known.refused("do_rescale", "pixels are scaled to 0 to 1 here")
    if not _is_number(scale) or not math.isclose(scale, SCALE, rel_tol=1e-6):
        raise known.refused("rescale_factor", f"pixels are scaled to 0 to 1 here, by {SCALE:.5f}")
    size = size or _size(known)
    normalises = known.switch("do_normalize", True)
    return CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        resample=Resampling.BILINEAR,
        image_mean=_channels(known, "image_mean", MEAN, 0.0) if normalises else [0.0] * 3,
        image_std=_channels(known, "image_std", STD, 1e-3) if normalises else [1.0] * 3,
    )


def _size(known: Preprocessing) -> int:
    """Return the side of what the checkpoint's model sees: of the middle that is cut out, if one is."""
    cut = "crop_size" in known.said and known.switch("do_center_crop", True)
    key = "crop_size" if cut else "size"
    own = known.said.get(key, DEFAULT_SIZE)  # a number, in older files
    if isinstance(own, dict):
        sides = {own[name] for name in ("shortest_edge", "height", "width") if isinstance(own.get(name), int)}
        own = sides.pop() if len(sides) == 1 else None
    if not isinstance(own, int) or isinstance(own, bool) or not SMALLEST <= own <= LARGEST:
        hint = f"no square of {SMALLEST} to {LARGEST} pixels a side: set task_runner.settings.image_size"
        raise known.refused(key, hint)
    return own


def _channels(known: Preprocessing, key: str, default: tuple[float, ...], least: float) -> list[float]:
    values = known.said.get(key, list(default))
    if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
        raise known.refused(key, "it must be three numbers, of red, green and blue")
    if not all(least <= value <= 1 for value in values):
        raise known.refused(key, f"it must be of pixels from 0 to 1, so between {least:g} and 1")
    return values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
