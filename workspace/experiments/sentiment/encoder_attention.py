"""The attention maps of a BERT-like encoder: every layer and head, the tokens as labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from federation.errors import InputError
from workspace.learning.recipe import AttentionMap


@dataclass(frozen=True)
class AttentionOptions:
    """Which attention maps are drawn.

    Parameters
    ----------
    layer : int, "all" or None
        From 1; by default the last one.
    head : int or None
        From 1; by default all.
    """

    layer: int | Literal["all"] | None = None
    head: int | None = None


def attention_maps(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    tokens: Sequence[str],
    options: AttentionOptions,
) -> list[AttentionMap]:
    """Return the chosen maps of one sentence, layer by layer.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode.
    input_ids, attention_mask : torch.Tensor of int64, shape [1, tokens]
        The sentence.
    tokens : sequence of str
        The labels.
    options : AttentionOptions
        Which layers and heads.

    Raises
    ------
    InputError
        If there is no such layer or head.
    """
    usual = model.config._attn_implementation
    # Only the plain implementation returns its weights; training and scores keep the quick one.
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            found = model.base_model(
                input_ids=input_ids, attention_mask=attention_mask, output_attentions=True
            ).attentions
    finally:
        model.set_attn_implementation(usual)
    weights = [layer[0].float().cpu().numpy() for layer in found]
    layers, heads = range(1, len(weights) + 1), range(1, len(weights[0]) + 1)
    layer = len(weights) if options.layer is None else options.layer
    return [
        AttentionMap(f"layer {i}, head {j}", tokens, tokens, weights[i - 1][j - 1])
        for i in (layers if layer == "all" else [_one_of(layers, layer, "layer")])
        for j in (heads if options.head is None else [_one_of(heads, options.head, "head")])
    ]


def _one_of(numbers: range, number: int, what: str) -> int:
    if number not in numbers:
        raise InputError(f"--option {what}={number}: this model has {what}s 1 to {numbers[-1]}")
    return number
