"""What a shard is: three splits of samples at one site, and what may be told about them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from shard_descriptors.remarks import remarks

Sample = dict[str, Any]
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class Split(Sequence[Sample], ABC):
    """Samples in a fixed order, read when they are asked for.

    A sample is a dict with ``label`` (int; 0 where the dataset has no classes), ``id`` (str), and the input; for speech that
    is ``audio``, float32 of shape [16000] in [-1, 1], and ``speaker`` (str).

    Attributes
    ----------
    labels : numpy.ndarray of int64, shape [n]
        The label of each sample, known without reading it.
    groups : list of str
        What a split or a bootstrap must not tear apart: the speaker of each sample, or the sample itself.
    ids : list of str
        A name for each sample, the same wherever the data lies.
    """

    labels: npt.NDArray[np.int64]
    groups: list[str]
    ids: list[str]

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """Read sample `index`, 0 <= index < len(self)."""

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self.sample(i) for i in range(*index.indices(len(self)))]
        return self.sample(range(len(self))[index])


class ShardDescriptor(ABC):
    """Opens a site's data and says what is in it (OpenFL's word).

    Attributes
    ----------
    dataset : str
        Name of the dataset; a plan asks for it.
    classes : tuple of str
        The classes in the order of their labels; empty where samples have none.
    sample_description, target_description : str
        What a sample and its target look like, for people.
    group_name : str
        What `Split.groups` are, in the plural: speakers, say.
    without_groups : tuple of str
        Classes whose samples belong to nobody, such as silence: their groups are not counted.
    left_out : mapping of str to int
        What lies with the data and is not used, in words (``files ending in .txt``), and how many.
    """

    dataset: str
    classes: tuple[str, ...]
    group_name: str = "groups"
    without_groups: tuple[str, ...] = ()
    left_out: Mapping[str, int] = MappingProxyType({})
    sample_description: str
    target_description: str

    @abstractmethod
    def split(self, name: SplitName) -> Split:
        """Return the samples of ``train``, ``validation`` or ``test``."""

    @abstractmethod
    def described_settings(self) -> Mapping[str, Any]:
        """Return the settings that decide what a sample is; this machine's (folders, memory) left out."""

    def class_counts(self, name: SplitName) -> dict[str, int]:
        """Count the samples of each class in a split.

        Returns
        -------
        dict of str to int
            Every class, in the order of the labels, also those with none; empty where the dataset has no classes.
        """
        if not self.classes:
            return {}
        counts = np.bincount(self.split(name).labels, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def remarks(self) -> list[str]:
        """Say in a line each what is left out, and where there is too little to train or to measure on."""
        return remarks(self)

    def fingerprint(self) -> str:
        """Hash which samples this shard holds: their ids, labels and the settings, not the audio.

        Returns
        -------
        str
            SHA-256; the same on every machine that holds the same shard.
        """
        told = {
            "dataset": self.dataset,
            "classes": self.classes,
            "settings": dict(self.described_settings()),
            "splits": {name: [self.split(name).ids, self.split(name).labels.tolist()] for name in SPLITS},
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class _Concatenation(Split):
    def __init__(self, splits: Sequence[Split]) -> None:
        self._splits = list(splits)
        self._ends = list(accumulate(len(split) for split in self._splits))
        self.labels = np.concatenate([np.zeros(0, np.int64), *(split.labels for split in self._splits)])
        self.groups = [group for split in self._splits for group in split.groups]
        self.ids = [name for split in self._splits for name in split.ids]

    def sample(self, index: int) -> Sample:
        part = bisect_right(self._ends, index)
        begin = self._ends[part - 1] if part else 0
        return self._splits[part].sample(index - begin)


def concatenate(splits: Sequence[Split]) -> Split:
    """Put splits one after another: the pooled data of a central baseline.

    Parameters
    ----------
    splits : sequence of Split
        Splits with the same classes.

    Returns
    -------
    Split
        Reads from the given splits, so their caches go on working.
    """
    return _Concatenation(splits)
