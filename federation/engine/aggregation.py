"""The sum of a round: trained tensors to a new model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfl.interface.aggregation_functions import WeightedAverage
from openfl.utilities import TensorKey

from federation.engine.tensor_db import TensorDB
from federation.tensors import Tensors, TensorSpec, all_finite


def aggregate(
    tensor_db: TensorDB,
    origin: str,
    round_number: int,
    shares: Mapping[str, float],
    expected: Mapping[str, TensorSpec],
    function: Any = None,
) -> Tensors:
    """Aggregate what was trained in a round, tensor by tensor, in the order in which the shares name the collaborators.

    Parameters
    ----------
    tensor_db
        Holds the trained tensors, tagged with their collaborators.
    origin
        The aggregator's uuid.
    round_number
        Of the round.
    shares
        Each collaborator's of the weight; they sum up to 1.
    expected
        What the model consists of.
    function
        OpenFL's aggregation function; the weighted average by default.

    Raises
    ------
    ArithmeticError
        If what comes out is no model.
    """
    model: dict[str, Any] = {}
    for name, spec in expected.items():
        key = TensorKey(name, origin, round_number, False, ("trained",))
        value = tensor_db.get_aggregated_tensor(
            key, shares, aggregation_function=function or WeightedAverage()
        )
        if value is None or tuple(value.shape) != spec.shape or not all_finite(value):
            raise ArithmeticError(f"the aggregate of tensor {name!r} in round {round_number} is not usable")
        model[name] = value.astype(spec.dtype, copy=False)
    return model
