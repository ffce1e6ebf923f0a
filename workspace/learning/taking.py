"""Taking a named part of an earlier experiment's model into a new one: an encoder without its head, say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from federation.document import nearest, shown
from federation.errors import InputError
from federation.tensors import Tensors
from workspace.learning.exchange import Roles, set_tensors, tensors_of_role

_SHOWN = 3


@dataclass(frozen=True)
class Taken:
    """What a model has of an earlier one, and what of it is new: the names of its tensors."""

    taken: Sequence[str]
    new: Sequence[str]

    def __str__(self) -> str:
        new = f"new by the seed: {_some(self.new)}" if self.new else "nothing is new"
        return f"{_some(self.taken)} taken; {new}"


def take(
    model: nn.Module,
    earlier: Tensors,
    wanted: Sequence[str],
    parts: Mapping[str, Sequence[str]],
    role: Roles,
) -> Taken:
    """Set those tensors of a model that an earlier one has in the wanted parts, in place.

    A tensor fits one of the same name and shape; what adapters add to names does not count.

    Parameters
    ----------
    model
        Seeded; what does not fit stays as it is.
    earlier
        What there is of the earlier one, by name.
    wanted
        Names of parts, or patterns of the names of tensors (``*`` and ``?``).
    parts
        Patterns by part, as the recipe gives them (`workspace.learning.recipe.Recipe.parts`).
    role
        The recipe's.

    Raises
    ------
    InputError
        If nothing fits something that is wanted; the message says what there is.
    """
    own = {plain_name(name): (name, tensor) for name, tensor in _travelling(model, role).items()}
    theirs = {plain_name(name): value for name, value in earlier.items()}
    fits = {
        name for name, value in theirs.items() if name in own and value.shape == tuple(own[name][1].shape)
    }
    taken: set[str] = set()
    for one in wanted:
        patterns = parts.get(one, (one,))
        found = {name for name in fits if any(fnmatchcase(name, pattern) for pattern in patterns)}
        if not found:
            raise InputError(f"nothing fits {shown(one)}: {_why(one, patterns, theirs, own, parts)}")
        taken |= found
    set_tensors(
        {own[name][0]: own[name][1] for name in taken}, {own[name][0]: theirs[name] for name in taken}
    )
    new = sorted(name for plain, (name, _) in own.items() if plain not in taken)
    return Taken(sorted(own[name][0] for name in taken), new)


def plain_name(name: str) -> str:
    """Return a tensor's name as it is without low-rank adapters around the model and its layers."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".")


def _travelling(model: nn.Module, role: Roles) -> dict[str, torch.Tensor]:
    return tensors_of_role(model, role, "exchanged") | tensors_of_role(model, role, "frozen")


def _why(
    wanted: str,
    patterns: Sequence[str],
    theirs: Tensors,
    own: Mapping[str, tuple[str, torch.Tensor]],
    parts: Mapping[str, Sequence[str]],
) -> str:
    both = sorted(name for name in theirs if name in own and any(fnmatchcase(name, p) for p in patterns))
    if both:
        shapes = f"{list(theirs[both[0]].shape)} there and {list(own[both[0]][1].shape)} here"
        return f"{both[0]} has the shape {shapes}"
    named = f"; parts are {', '.join(sorted(parts))}{nearest(wanted, list(parts))}" if parts else ""
    return f"the earlier model has {_some(sorted(theirs))}, this one {_some(sorted(own))}{named}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}" or "nothing"
