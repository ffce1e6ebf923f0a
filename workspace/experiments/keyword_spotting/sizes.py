"""What the sizes of a wav2vec 2.0 must be together: computed, so that a plan is checked where torch is not installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CLIP = 16_000  # samples
DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 768,
    "num_attention_heads": 12,
    "conv_dim": (512,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "num_conv_pos_embedding_groups": 16,
    "apply_spec_augment": True,
    "mask_time_prob": 0.05,
    "mask_time_length": 10,
    "mask_feature_prob": 0.0,
    "mask_feature_length": 10,
}
"""Those of ``transformers.Wav2Vec2Config`` that matter here."""

ATTENTION, DENSE = ("q_proj", "k_proj", "v_proj", "out_proj"), ("intermediate_dense", "output_dense")
LINEAR = frozenset((*ATTENTION, *DENSE, "projection", "projector", "classifier"))
"""The ends of the names of ``Wav2Vec2ForSequenceClassification``'s linear layers."""


def contradiction(given: Mapping[str, Any]) -> str | None:
    """Say which sizes make no model together, or one that cannot be trained on clips of one second.

    Parameters
    ----------
    given : mapping of str to object
        Keys of ``Wav2Vec2Config``, each within its own range; one that is missing or null is as the library has it.

    Returns
    -------
    str or None
        One line that begins with the key to change; None if all is well.
    """
    said = {key: given.get(key) for key in DEFAULTS}
    sizes = {key: DEFAULTS[key] if value is None else value for key, value in said.items()}
    width, heads, groups = (
        sizes[key] for key in ("hidden_size", "num_attention_heads", "num_conv_pos_embedding_groups")
    )
    dims, kernels, strides = (sizes[key] for key in ("conv_dim", "conv_kernel", "conv_stride"))
    if len({len(dims), len(kernels), len(strides)}) > 1:
        counts = f"{len(dims)}, {len(kernels)} and {len(strides)}"
        return (
            f"conv_dim, conv_kernel and conv_stride have {counts} entries, and must have one for each convolution: "
            "give all three"
        )
    for key, parts in (("num_attention_heads", heads), ("num_conv_pos_embedding_groups", groups)):
        if width % parts:
            return f"{key} must divide hidden_size: {parts} does not divide {width}"
    left = frames(kernels, strides)
    if left < 1:
        return f"conv_kernel and conv_stride leave no frame of a clip's {CLIP} samples: make them smaller"
    if not sizes["apply_spec_augment"]:
        return None
    for axis, most, of in (
        ("time", left, "frames that conv_kernel and conv_stride leave of a clip"),
        ("feature", width, "of hidden_size"),
    ):
        length = sizes[f"mask_{axis}_length"]
        if sizes[f"mask_{axis}_prob"] > 0 and not 1 <= length <= most:
            return f"mask_{axis}_length is {length}, and must be at most the {most} {of}: set it, or mask_{axis}_prob to 0"
    return None


def frames(kernels: Sequence[int], strides: Sequence[int], samples: int = CLIP) -> int:
    """Return how many frames the convolutions leave of a waveform; none if it is too short for one of them."""
    for kernel, stride in zip(kernels, strides, strict=True):
        if min(kernel, stride) < 1 or samples < kernel:
            return 0
        samples = (samples - kernel) // stride + 1
    return samples
