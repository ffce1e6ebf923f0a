"""A logistic regression on the first token's hidden state, written into a head that transformers knows.

Between hidden state h and classifier, transformers' heads have a layer of their own, g(U h + u): a ReLU in DistilBERT, a tanh
in BERT. The regression z = W h + b goes into that layer, so that the classifier has only to undo g:

- ReLU: the layer computes z and -z, and z = relu(z) - relu(-z) is exact.
- tanh: the layer computes e z, and z is tanh(e z) / e but for z (e z)^2 / 3; with e = 2^-16 that is below float32's rounding
  wherever |z| < 20, and scaling by a power of two rounds nothing.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from federation.errors import InputError

TANH_SCALE = 2.0**-16


def start_at_zero(model: Any) -> None:
    """Freeze all but the classifier, in place, and set that to zero: the problem is convex, so any start will do."""
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    nn.init.zeros_(model.classifier.weight)
    nn.init.zeros_(model.classifier.bias)


def first_token_logits(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Apply the classifier to the first token's hidden state, without dropout or gradients in the encoder.

    Returns
    -------
    torch.Tensor
        Of shape [samples, classes].
    """
    encoder = model.base_model.eval()
    with torch.no_grad():
        hidden = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state[:, 0]
    logits: torch.Tensor = model.classifier(hidden)
    return logits


def check_room(hidden_size: int, classes: int) -> None:
    """See to it that the regression fits into the layer between, before it is trained.

    Raises
    ------
    InputError
        If there are more classes than that layer has room for.
    """
    if 2 * classes > hidden_size:
        raise InputError(
            f"strategy: features: {classes} classes are too many for a hidden size of {hidden_size}"
        )


def folded(model: Any) -> Any:
    """Return a copy whose own ``forward`` gives the same logits as `first_token_logits`.

    Raises
    ------
    InputError
        If there are more classes than the layer between has room for.
    """
    whole = copy.deepcopy(model)
    classifier = whole.classifier
    classes, width = classifier.weight.shape
    check_room(width, classes)
    between = whole.pre_classifier if whole.config.model_type == "distilbert" else whole.bert.pooler.dense
    with torch.no_grad():
        weight, bias = classifier.weight.clone(), classifier.bias.clone()
        for tensor in (between.weight, between.bias, classifier.weight, classifier.bias):
            tensor.zero_()
        unit = torch.eye(classes, device=weight.device)
        if whole.config.model_type == "distilbert":
            between.weight[: 2 * classes] = torch.cat([weight, -weight])
            between.bias[: 2 * classes] = torch.cat([bias, -bias])
            classifier.weight[:, : 2 * classes] = torch.cat([unit, -unit], dim=1)
        else:
            between.weight[:classes] = weight * TANH_SCALE
            between.bias[:classes] = bias * TANH_SCALE
            classifier.weight[:, :classes] = unit / TANH_SCALE
    return whole
