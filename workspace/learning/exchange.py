"""What of a model travels, what every site must hold alike, and what is a site's own: roles, by name.

Every function takes the roles as a recipe gives them (`workspace.learning.recipe.Recipe.role`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from federation.errors import InputError
from federation.tensors import TensorSpec
from workspace.learning.recipe import Role, role_by_gradient

Array = npt.NDArray[Any]
Roles = Callable[[str, torch.Tensor], Role]


def exchanged_tensors(model: nn.Module, role: Roles = role_by_gradient) -> dict[str, Array]:
    """Copy the exchanged tensors as float32, sorted by name; a shared one once."""
    return {name: _to_float32(tensor) for name, tensor in tensors_of_role(model, role, "exchanged").items()}


def tensor_specs(
    model: nn.Module, role: Roles = role_by_gradient, wanted: Role = "exchanged"
) -> dict[str, TensorSpec]:
    """Say what an update of this model must hold, or its tensors of another role where they travel."""
    return {
        name: TensorSpec("float32", tuple(tensor.shape))
        for name, tensor in tensors_of_role(model, role, wanted).items()
    }


def load_exchanged(model: nn.Module, tensors: Mapping[str, Array], role: Roles = role_by_gradient) -> None:
    """Set the exchanged tensors of a model, in place.

    Raises
    ------
    InputError
        If the tensors are not exactly those that the model exchanges, by name and shape.
    """
    set_tensors(tensors_of_role(model, role, "exchanged"), tensors)


def frozen_tensors(model: nn.Module, names: Collection[str], role: Roles) -> dict[str, Array]:
    """Copy those of some tensors that are frozen as float32, sorted by name."""
    frozen = tensors_of_role(model, role, "frozen")
    return {name: _to_float32(tensor) for name, tensor in frozen.items() if name in names}


def load_frozen(model: nn.Module, tensors: Mapping[str, Array], role: Roles = role_by_gradient) -> None:
    """Set some of the frozen tensors of a model, in place; the rest stays as the checkpoint or the seed has made it.

    Raises
    ------
    InputError
        If one of them is no frozen tensor of the model, or of another shape.
    """
    frozen = tensors_of_role(model, role, "frozen")
    set_tensors({name: tensor for name, tensor in frozen.items() if name in tensors}, tensors)


def local_tensors(model: nn.Module, role: Roles) -> dict[str, Array]:
    """Copy the tensors that are this site's own and of floats, sorted by name."""
    return {name: _to_float32(tensor) for name, tensor in _personal(model, role).items()}


def load_local(model: nn.Module, tensors: Mapping[str, Array], role: Roles) -> None:
    """Set the site's own tensors, in place; as `load_exchanged`."""
    set_tensors(_personal(model, role), tensors)


def frozen_fingerprint(model: nn.Module, role: Roles = role_by_gradient) -> str:
    """Return the SHA-256 (hexadecimal) over name, dtype, shape and bytes of every float tensor that is frozen."""
    sha = hashlib.sha256()
    for name, tensor in tensors_of_role(model, role, "frozen").items():
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def set_tensors(own: Mapping[str, torch.Tensor], tensors: Mapping[str, Array]) -> None:
    """Set tensors, in place.

    Raises
    ------
    InputError
        If they are not exactly these, by name and shape.
    """
    if odd := sorted(own.keys() ^ tensors.keys()):
        lack = "are missing" if odd[0] in own else "are not this model's"
        raise InputError(
            f"{len(odd)} tensors {lack} or more (the first is {odd[0]!r}): other plan or version?"
        )
    for name, tensor in own.items():
        if tuple(tensors[name].shape) != tuple(tensor.shape):
            shapes = f"{list(tensors[name].shape)}, the model's {list(tensor.shape)}"
            raise InputError(f"tensor {name!r} has shape {shapes}: another plan's model?")
    with torch.no_grad():
        for name, tensor in own.items():
            # A tensor of our own: what arrives may be a read-only map of a file.
            tensor.copy_(torch.from_numpy(np.array(tensors[name], dtype=np.float32)))


def tensors_of_role(model: nn.Module, role: Roles, wanted: Role) -> dict[str, torch.Tensor]:
    """Return a model's own tensors of a role, sorted by name; a shared one once."""
    kept = model.state_dict(keep_vars=True).keys()
    named: dict[str, torch.Tensor] = dict(model.named_parameters())
    named |= {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return dict(sorted((name, tensor) for name, tensor in named.items() if role(name, tensor) == wanted))


def _personal(model: nn.Module, role: Roles) -> dict[str, torch.Tensor]:
    return {name: t for name, t in tensors_of_role(model, role, "local").items() if t.is_floating_point()}


def _to_float32(tensor: torch.Tensor) -> Array:
    return np.array(tensor.detach().to("cpu", torch.float32).numpy(), order="C")
