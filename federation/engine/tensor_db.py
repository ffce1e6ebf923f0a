"""A tensor database that is a dictionary.

Replaces OpenFL's pandas ``TensorDB``, whose every look-up scans a data frame: about 7 s a round for the 215 tensors of
wav2vec2-base. Keys, tags and the calls stay OpenFL's, so that its callbacks and aggregation functions go on working.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from openfl.databases import TensorDB as OpenFLTensorDB
from openfl.utilities import LocalTensor, TensorKey, change_tags

from federation.tensors import Array


class TensorDB(OpenFLTensorDB):
    """Stores arrays by OpenFL's ``TensorKey``; the arrays may be memory maps and are never copied."""

    def __init__(self) -> None:
        self._tensors: dict[Any, Array] = {}

    def __repr__(self) -> str:
        return f"TensorDB of {len(self._tensors)} tensors"

    __str__ = __repr__

    def cache_tensor(self, tensor_key_dict: Mapping[Any, Array]) -> None:
        """Insert tensors; a key that is there is replaced."""
        self._tensors.update((TensorKey(*key), value) for key, value in tensor_key_dict.items())

    def cache_model(self, origin: str, round_number: int, tensors: Mapping[str, Array]) -> None:
        """Insert the model that a round starts from."""
        keys = {name: TensorKey(name, origin, round_number, False, ("model",)) for name in tensors}
        self._tensors.update((keys[name], value) for name, value in tensors.items())

    def model(self, origin: str, round_number: int, names: Iterable[str]) -> dict[str, Array]:
        """Return what `cache_model` has inserted."""
        return {
            name: self._tensors[TensorKey(name, origin, round_number, False, ("model",))] for name in names
        }

    def get_tensor_from_cache(self, tensor_key: Any) -> Array | None:
        """Return a tensor, or None."""
        return self._tensors.get(TensorKey(*tensor_key))

    def get_tensors_by_filter(
        self, custom_filter: Callable[[dict[str, Any]], bool] | None = None
    ) -> dict[Any, Array]:
        """Return the tensors whose row (`tensor_name`, `origin`, `round`, `report`, `tags`, `nparray`) passes a filter."""
        keys = list(self._tensors)
        return {k: self._tensors[k] for k in keys if custom_filter is None or custom_filter(self._row(k))}

    def get_aggregated_tensor(
        self,
        tensor_key: Any,
        collaborator_weight_dict: Mapping[str, float],
        aggregation_function: Callable[..., Array],
    ) -> Array | None:
        """Aggregate one tensor over collaborators, in the order in which the weights name them.

        Returns
        -------
        numpy.ndarray or None
            The aggregate, or None if a collaborator's tensor is missing. Not stored: the aggregator stores the new model.
        """
        name, origin, round_number, report, tags = tensor_key
        local_tensors = []
        for collaborator, weight in collaborator_weight_dict.items():
            key = TensorKey(name, origin, round_number, report, change_tags(tags, add_field=collaborator))
            value = self._tensors.get(key)
            if value is None:
                return None
            local_tensors.append(LocalTensor(col_name=collaborator, tensor=value, weight=weight))
        return np.asarray(aggregation_function(local_tensors, self._iterate(), name, round_number, tags))

    def clean_up(self, remove_older_than: int = 1) -> None:
        """Forget the tensors of rounds before the newest ``remove_older_than``; negative keeps all."""
        if remove_older_than < 0 or not self._tensors:
            return
        newest = max(key.round_number for key in self._tensors)
        self._tensors = {
            k: v for k, v in self._tensors.items() if k.round_number > newest - remove_older_than
        }

    def _row(self, key: Any) -> dict[str, Any]:
        return {
            "tensor_name": key.tensor_name,
            "origin": key.origin,
            "round": key.round_number,
            "report": key.report,
            "tags": key.tags,
            "nparray": self._tensors[key],
        }

    def _iterate(self, order_by: str = "round", ascending: bool = False) -> Iterator[dict[str, Any]]:
        """Iterate over rows, newest round first: what adaptive aggregation functions search their history in."""
        rows = [self._row(key) for key in self._tensors]
        yield from sorted(rows, key=lambda row: row[order_by], reverse=not ascending)
