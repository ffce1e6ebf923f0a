"""What of a model travels (the trainable parameters), and the fingerprint of what does not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from federation.errors import InputError
from federation.tensors import TensorSpec

Array = npt.NDArray[Any]


def exchanged_tensors(model: nn.Module) -> dict[str, Array]:
    """Copy the exchanged tensors: the trainable parameters as float32, sorted by name; a shared one once."""
    return {name: _to_float32(parameter) for name, parameter in _trainable(model).items()}


def tensor_specs(model: nn.Module) -> dict[str, TensorSpec]:
    """Say what an update of this model must hold."""
    return {
        name: TensorSpec("float32", tuple(parameter.shape)) for name, parameter in _trainable(model).items()
    }


def load_exchanged(model: nn.Module, tensors: Mapping[str, Array]) -> None:
    """Set the exchanged tensors of a model, in place.

    Raises
    ------
    InputError
        If the tensors are not exactly those that the model exchanges, by name and shape.
    """
    parameters = _trainable(model)
    if odd := sorted(parameters.keys() ^ tensors.keys()):
        lack = "are missing" if odd[0] in parameters else "are not this model's"
        raise InputError(
            f"{len(odd)} exchanged tensors {lack} or more (the first is {odd[0]!r}): other plan or version?"
        )
    for name, parameter in parameters.items():
        if tuple(tensors[name].shape) != tuple(parameter.shape):
            shapes = f"{list(tensors[name].shape)}, the model's {list(parameter.shape)}"
            raise InputError(f"exchanged tensor {name!r} has shape {shapes}: another plan's model?")
    with torch.no_grad():
        for name, parameter in parameters.items():
            # A tensor of our own: what arrives may be a read-only map of a file.
            parameter.copy_(torch.from_numpy(np.array(tensors[name], dtype=np.float32)))


def frozen_fingerprint(model: nn.Module) -> str:
    """Return the SHA-256 (hexadecimal) over name, dtype, shape and bytes of every float tensor that stays."""
    sha = hashlib.sha256()
    for name, tensor in sorted(_frozen(model).items()):
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(sorted((name, p) for name, p in model.named_parameters() if p.requires_grad))


def _frozen(model: nn.Module) -> dict[str, torch.Tensor]:
    kept = model.state_dict(keep_vars=True).keys()
    frozen: dict[str, torch.Tensor] = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    frozen |= {name: b for name, b in model.named_buffers() if name in kept and b.is_floating_point()}
    return frozen


def _to_float32(tensor: torch.Tensor) -> Array:
    return np.array(tensor.detach().to("cpu", torch.float32).numpy(), order="C")
