"""How far an update lies from the model that it was trained from, and which updates lie too far out to count.

A round's updates are held to each other: the bound is so many times their median norm, and with fewer than three of them, of
which none can be told to be the odd one, so many times the model's own norm.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from federation.tensors import Array, Tensors

ENOUGH = 3
"""So many updates have a median that tells something."""
LEAST = 1e-6
"""Of the model's norm, and itself: below it all updates are alike, however small the others are."""
PIECE = 1 << 18


def norm(tensors: Tensors, origin: Tensors | None = None) -> float:
    """Return the Euclidean norm of tensors, or of their distance from others of the same shapes.

    All elements together, in float64, tensor by tensor in the order of their names and in pieces of a fixed size, so that it is
    the same wherever it is computed.
    """
    return math.sqrt(
        math.fsum(
            _squares(tensors[name], None if origin is None else origin[name]) for name in sorted(tensors)
        )
    )


def bound(norms: Sequence[float], model_norm: float, times: float) -> float:
    """Return the largest norm that is not left out of a round.

    Parameters
    ----------
    norms
        Of all updates of the round.
    model_norm
        Of the model that they were trained from.
    times
        How many times the others' norm is allowed.
    """
    typical = statistics.median(norms) if len(norms) >= ENOUGH else model_norm
    return times * max(typical, LEAST * model_norm + LEAST)


def outliers(norms: Mapping[str, float], model_norm: float, times: float) -> tuple[dict[str, float], float]:
    """Return the norms that are above a round's bound, by collaborator, and the bound."""
    most = bound(list(norms.values()), model_norm, times)
    return {name: found for name, found in sorted(norms.items()) if not found <= most}, most


def scaled_down(update: Array, origin: Array, scale: float) -> Array:
    """Return what lies on the way from a model's tensor to an update's, at a share of the distance; of the update's dtype."""
    way = update.astype(np.float64) - origin.astype(np.float64)
    moved = origin.astype(np.float64) + scale * way
    return (np.rint(moved) if update.dtype.kind in "iub" else moved).astype(update.dtype)


def _squares(value: Array, origin: Array | None) -> float:
    flat = value.reshape(-1)
    other = None if origin is None else origin.reshape(-1)
    total = 0.0
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE].astype(np.float64)
        if other is not None:
            piece -= other[start : start + PIECE]
        # Not a dot product, whose last bits depend on how many threads there are.
        total += float(np.sum(np.square(piece, out=piece)))
    return total
