"""What the sizes of a residual network must be together: computed, so that a plan is checked where torch is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT_SIZE = 224
SMALLEST, LARGEST = 8, 2048
DEFAULTS: Mapping[str, Any] = {
    "hidden_sizes": (256, 512, 1024, 2048),
    "depths": (3, 4, 6, 3),
    "layer_type": "bottleneck",
    "downsample_in_first_stage": False,
}
"""Those of ``transformers.ResNetConfig`` that matter here."""
REDUCTION = 4  # of a bottleneck's width


def contradiction(given: Mapping[str, Any], image_size: int) -> str | None:
    """Say which sizes make no network together, or one that would halve a single pixel.

    Parameters
    ----------
    given : mapping of str to object
        Keys of ``ResNetConfig``, each within its own range; one that is missing or null is as the library has it.
    image_size : int
        Pixels of a side that the network sees.

    Returns
    -------
    str or None
        One line that begins with the key to change; None if all is well.
    """
    said = {key: given.get(key) for key in DEFAULTS}
    sizes = {key: DEFAULTS[key] if value is None else value for key, value in said.items()}
    widths, depths = sizes["hidden_sizes"], sizes["depths"]
    if len(widths) != len(depths):
        return (
            f"hidden_sizes and depths have {len(widths)} and {len(depths)} entries, and must have one for each stage: "
            "give both"
        )
    if sizes["layer_type"] == "bottleneck" and min(widths) < REDUCTION:
        return f"hidden_sizes must be at least {REDUCTION} with layer_type: bottleneck, which goes through a quarter of them"
    # The first convolution and the pooling after it, then each stage; the first one only if it is told to.
    halvings = 2 + len(depths) - (not sizes["downsample_in_first_stage"])
    if image_size <= 2 ** (halvings - 1):
        return (
            f"depths has {len(depths)} stages, which halve an image {halvings} times: with an image_size of {image_size} "
            "the last would halve a single pixel; take fewer stages or larger images"
        )
    return None
