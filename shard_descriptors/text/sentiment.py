"""Labelled sentences as a shard: a sentence in, its class out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from federation.errors import InputError
from shard_descriptors.checked_settings import checked
from shard_descriptors.descriptor import SPLITS, Sample, ShardDescriptor, Split, SplitName
from shard_descriptors.text.sentence_splits import divide, split
from shard_descriptors.text.sentences import Sentence, read_sentences
from shard_descriptors.text.sentiment_settings import SentimentShardSettings

log = logging.getLogger(__name__)

MACHINE_SETTINGS = ("root", "source", "hub", "max_unreadable")


class SentenceSplit(Split):
    """Sentences, which are in memory; equal sentences are a group."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self.labels = np.array([sentence.label for sentence in sentences], np.int64)
        self.groups = [sentence.group for sentence in sentences]
        self.ids = [sentence.id for sentence in sentences]
        self._texts = [sentence.text for sentence in sentences]

    def sample(self, index: int) -> Sample:
        """Return sample `index`."""
        return {"text": self._texts[index], "label": int(self.labels[index]), "id": self.ids[index]}


class SentimentShard(ShardDescriptor):
    """One site's part of a set of labelled sentences.

    Train and validation are this shard's part; test is the whole dataset's.

    Parameters
    ----------
    **settings
        See `shard_descriptors.text.sentiment_settings.SentimentShardSettings`.

    Raises
    ------
    InputError
        A wrong setting, a missing file or class, too many malformed lines, or nothing to train on.
    """

    dataset = "sentiment"
    sample_description = "a sentence, str"
    target_description = "its class, int"

    def __init__(self, **settings: Any) -> None:
        checked_settings = _check(settings)
        self._fill(checked_settings, *_divide(checked_settings))

    @classmethod
    def open_all(cls, **settings: Any) -> list[SentimentShard]:
        """Open the shards of every rank, reading the data once; shards may be empty.

        Parameters
        ----------
        **settings
            As for one shard; `rank` is not looked at.
        """
        common = _check({**settings, "rank": 0})
        divided, left_out = _divide(common)
        shards = []
        for rank in range(common.worldsize):
            shard = cls.__new__(cls)
            shard._fill(replace(common, rank=rank), divided, left_out, may_be_empty=True)
            shards.append(shard)
        return shards

    def _fill(
        self,
        settings: SentimentShardSettings,
        divided: Mapping[SplitName, list[list[Sentence]]],
        left_out: Mapping[str, int],
        may_be_empty: bool = False,
    ) -> None:
        self.settings = settings
        self.classes = tuple(settings.classes)
        self.left_out = left_out
        held = {name: divided[name][settings.rank] for name in SPLITS}
        if not may_be_empty:
            _check_not_empty(held, settings)
        self._splits = {name: SentenceSplit(sentences) for name, sentences in held.items()}

    def split(self, name: SplitName) -> Split:
        """Return the samples of ``train``, ``validation`` or ``test``."""
        return self._splits[name]

    def described_settings(self) -> Mapping[str, Any]:
        """Return the settings that decide what a sample is; those of this machine left out."""
        return {key: value for key, value in asdict(self.settings).items() if key not in MACHINE_SETTINGS}


def _check(settings: Mapping[str, Any]) -> SentimentShardSettings:
    return checked(SentimentShardSettings, settings, "the sentiment shard")


def _divide(
    settings: SentimentShardSettings,
) -> tuple[dict[SplitName, list[list[Sentence]]], Counter[str]]:
    """Read the data: for each split what every rank holds, and what is left out."""
    sentences, left_out = read_sentences(settings)
    splits = split(sentences, settings)
    repeated = len(sentences) - sum(map(len, splits.values()))
    return divide(splits, settings), left_out + Counter({"sentences that a later split repeats": repeated})


def _check_not_empty(held: Mapping[SplitName, list[Sentence]], settings: SentimentShardSettings) -> None:
    """Refuse a shard that cannot train."""
    which = f"shard {settings.rank} of {settings.worldsize} (partition: {settings.partition})"
    if not held["train"]:
        raise InputError(
            f"{which} of {settings.root or settings.hub} is empty; lower worldsize or change partition"
        )
    for name, sentences in held.items():
        if not sentences:
            log.warning("%s holds no sample of the split %s", which, name)
