"""How the samples of a split are divided among shards, deterministically."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from shard_descriptors.drawing import order

Partition = Literal["stride", "group", "dirichlet"]


def assign(
    *,
    ids: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[str],
    kind: Partition,
    worldsize: int,
    alpha: float,
    seed: int,
) -> list[int]:
    """Return the rank of the shard that each sample goes to.

    Parameters
    ----------
    ids, labels, groups : sequence
        Of each sample.
    kind : {"stride", "group", "dirichlet"}
        Sample i to shard i mod `worldsize`; whole groups, balanced by their samples; or each label by shares drawn from a
        Dirichlet distribution, the same in every split.
    worldsize : int
        How many shards.
    alpha : float
        Of the Dirichlet distribution: the smaller, the more the shards differ.
    seed : int
        Of all that is drawn.
    """
    if kind == "group":
        return _by_group(groups, worldsize, seed)
    if kind == "dirichlet":
        return _by_dirichlet(ids, labels, worldsize, alpha, seed)
    return [index % worldsize for index in range(len(ids))]


def _by_group(groups: Sequence[str], worldsize: int, seed: int) -> list[int]:
    """Give each group, those with most samples first, to the shard that has the fewest samples."""
    count = Counter(groups)
    load = [0] * worldsize
    shard_of = {}
    for group in sorted(count, key=lambda group: (-count[group], order(seed, group))):
        shard_of[group] = load.index(min(load))
        load[shard_of[group]] += count[group]
    return [shard_of[group] for group in groups]


def _by_dirichlet(
    ids: Sequence[str], labels: Sequence[int], worldsize: int, alpha: float, seed: int
) -> list[int]:
    """Draw the shards' shares of each label; a label has the same shares in train and in validation."""
    shards = [0] * len(ids)
    for label in set(labels):
        shares = np.random.default_rng([seed, label]).dirichlet(np.full(worldsize, alpha))
        drawn = sorted(
            (index for index, own in enumerate(labels) if own == label),
            key=lambda index: order(seed, ids[index]),
        )
        ends = np.rint(np.cumsum(shares) * len(drawn))
        for position, index in enumerate(drawn):
            shards[index] = min(int(np.searchsorted(ends, position, side="right")), worldsize - 1)
    return shards
