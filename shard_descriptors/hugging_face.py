"""Hugging Face data sets, for every family: opened from a folder that ``save_to_disk`` has written, or from the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS, SplitName

_OURS: Mapping[str, SplitName] = {split: split for split in SPLITS}


def open_splits(
    root: Path | None, hub: str, path: str, names: Mapping[str, SplitName] = _OURS, **options: Any
) -> dict[SplitName, Any]:
    """Open a data set; one without splits is all for training.

    Parameters
    ----------
    root : Path, optional
        The folder; None for the Hub.
    hub : str
        What a user calls it on the Hub.
    path : str
        Its repository there.
    names : mapping of str to str
        Our splits by the names that it may give them.
    **options
        For ``datasets.load_dataset``.

    Returns
    -------
    dict
        The splits that it has, in its own order, as ``datasets.Dataset``.

    Raises
    ------
    InputError
        If it cannot be had, is no such folder, or has a split of another name.
    """
    import datasets

    try:
        opened = (
            datasets.load_dataset(path, **options) if root is None else datasets.load_from_disk(str(root))
        )
    except Exception as error:  # the Hub's clients raise many kinds, and so does a damaged copy
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if root is not None:
            raise InputError(
                f"{root}: not a dataset saved by save_to_disk; set root to one ({reason})"
            ) from error
        raise InputError(
            f"{hub}: cannot be had from the Hugging Face Hub; where the network allows, load it and save_to_disk, "
            f"then set root to that folder ({reason})"
        ) from error
    tables = dict(opened) if isinstance(opened, datasets.DatasetDict) else {"train": opened}
    if unknown := sorted(tables.keys() - names.keys()):
        raise InputError(f"{root or hub}: unknown split {unknown[0]!r}; known are {', '.join(names)}")
    return {names[split]: table for split, table in tables.items()}
