"""What shards hold, counted: for people as a table, for programs as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from shard_descriptors.descriptor import SPLITS, ShardDescriptor, SplitName


def describe(shards: Mapping[str, ShardDescriptor]) -> dict[str, Any]:
    """Count samples, groups (such as speakers) and classes of shards, and of all of them together.

    Parameters
    ----------
    shards : mapping of str to ShardDescriptor
        By name.

    Returns
    -------
    dict
        ``{"classes": [...], "shards": {name: {"fingerprint": ..., split: counts, "left_out": {what: n}, "remarks": [...]}},
        "total": {split: counts}}``; counts are ``{"samples": n, "speakers": n, "classes": {class: n}}``, with the
        shards' own name for their groups in the place of ``speakers``.
        The total counts a sample once, in however many shards it is.
    """
    classes = list(dict.fromkeys(name for shard in shards.values() for name in shard.classes))
    return {
        "classes": classes,
        "shards": {
            name: {
                "fingerprint": shard.fingerprint(),
                **{split: _counts([shard], split, classes) for split in SPLITS},
                "left_out": dict(shard.left_out),
                "remarks": shard.remarks(),
            }
            for name, shard in shards.items()
        },
        "total": {split: _counts(list(shards.values()), split, classes) for split in SPLITS},
    }


def _counts(shards: Sequence[ShardDescriptor], split: SplitName, classes: Sequence[str]) -> dict[str, Any]:
    held: dict[str, tuple[str, str]] = {}
    for shard in shards:
        samples = shard.split(split)
        for name, label, group in zip(samples.ids, samples.labels, samples.groups, strict=True):
            held[name] = (shard.classes[label] if shard.classes else "", group)
    count = Counter(name for name, _ in held.values())
    return {
        "samples": len(held),
        shards[0].group_name: len(
            {group for name, group in held.values() if name not in shards[0].without_groups}
        ),
        "classes": {name: count[name] for name in classes},
    }


def in_words(description: Mapping[str, Any]) -> list[str]:
    """Say in a line each what the shards leave out and what there is too little of; once for all that share it."""
    lines: dict[str, list[str]] = {}
    for name, shard in description["shards"].items():
        for line in shard["remarks"]:
            lines.setdefault(line, []).append(name)
    everybody = len(description["shards"])
    return [line if len(names) == everybody else f"{_some(names)}: {line}" for line, names in lines.items()]


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def as_rows(description: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Lay out what `describe` returned: a column for each shard; rows for each split, each of which names it."""
    columns = {**description["shards"], "total": description["total"]}
    rows = []
    for split in SPLITS:
        for name in description["classes"]:
            rows.append([split, name, *(str(column[split]["classes"][name]) for column in columns.values())])
        for kind in (kind for kind in description["total"][split] if kind != "classes"):
            rows.append([split, f"all {kind}", *(str(column[split][kind]) for column in columns.values())])
    return ["split", "class", *columns], rows
