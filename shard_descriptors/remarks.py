"""What people should know of a shard beside its counts: what it leaves out, and what there is too little of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shard_descriptors.descriptor import ShardDescriptor, SplitName

FEW_SAMPLES = 20
"""Of fewer, one is more than five points of accuracy."""
FEW_GROUPS = 5
"""Of fewer, those at hand say little of others: speakers differ more than their samples do."""


def counted(left_out: Mapping[str, int]) -> str:
    """Put counts in words, those with most first: ``hidden files (12), files ending in .txt (3)``."""
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{what} ({count})" for what, count in ordered)


def remarks(shard: ShardDescriptor) -> list[str]:
    """Say in a line each what a shard leaves out, and where it has too little to train or to measure on."""
    lines = [f"left out: {counted(shard.left_out)}"] if shard.left_out else []
    missing = [name for name, count in shard.class_counts("train").items() if not count]
    if missing and len(shard.split("train")):
        lines.append(f"train has no sample of the class {', '.join(map(repr, missing))}")
    return lines + _too_few(shard, "validation") + _too_few(shard, "test")


def _too_few(shard: ShardDescriptor, name: SplitName) -> list[str]:
    split = shard.split(name)
    nobody = {shard.classes.index(one) for one in shard.without_groups if one in shard.classes}
    owned = [group for group, label in zip(split.groups, split.labels, strict=True) if label not in nobody]
    groups = len(set(owned))
    if not len(split):
        return []
    if len(split) < FEW_SAMPLES:
        return [f"{name} has {_few(len(split), 'samples')}: one is {100 / len(split):.0f} % of the accuracy"]
    if 0 < groups < min(FEW_GROUPS, len(owned)):
        return [
            f"{name} has {_few(groups, shard.group_name)}: what is measured on them says little of others"
        ]
    return []


def _few(count: int, what: str) -> str:
    return f"only {count} {what.removesuffix('s') if count == 1 else what}"
