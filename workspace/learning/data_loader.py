"""OpenFL's data loader interface over a shard descriptor."""

from __future__ import annotations

from typing import Any

from openfl.federated.data.loader import DataLoader


class ShardDataLoader(DataLoader):
    """Serves the splits of a shard; OpenFL calls the shard its ``data_path``."""

    def __init__(self, data_path: Any) -> None:
        self.shard = data_path

    def get_feature_shape(self) -> None:
        """Return nothing: the recipe knows the shapes."""

    def get_train_loader(self, **kwargs: Any) -> Any:
        """Return the samples to train on."""
        return self.shard.split("train")

    def get_valid_loader(self) -> Any:
        """Return the samples to validate on."""
        return self.shard.split("validation")

    def get_train_data_size(self) -> int:
        """Return the number of samples to train on."""
        return len(self.shard.split("train"))

    def get_valid_data_size(self) -> int:
        """Return the number of samples to validate on."""
        return len(self.shard.split("validation"))
