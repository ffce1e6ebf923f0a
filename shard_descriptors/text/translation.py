"""Sentence pairs as a shard: a sentence in, its translation out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np

from federation.errors import InputError
from shard_descriptors.checked_settings import checked
from shard_descriptors.descriptor import SPLITS, Sample, ShardDescriptor, Split, SplitName
from shard_descriptors.drawing import draw, order
from shard_descriptors.partition import assign
from shard_descriptors.text.sentence_pairs import Pair, read_pairs
from shard_descriptors.text.translation_settings import TranslationShardSettings

log = logging.getLogger(__name__)

MACHINE_SETTINGS = ("root", "source", "hub", "hub_config", "max_unreadable")
Whole = Mapping[SplitName, list[list[Pair]]]  # for each split, what every rank holds


class PairSplit(Split):
    """Sentence pairs in memory; a sample has ``source`` and ``target`` (str), and the label 0."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.labels = np.zeros(len(pairs), np.int64)
        self.groups = [pair.group for pair in pairs]
        self.ids = [pair.id for pair in pairs]
        self._pairs = list(pairs)

    def sample(self, index: int) -> Sample:
        """Return sample `index`."""
        pair = self._pairs[index]
        return {"source": pair.source, "target": pair.target, "label": 0, "id": pair.id}


class TranslationShard(ShardDescriptor):
    """One site's part of a set of sentence pairs.

    Train and validation are this shard's part; test is the whole dataset's. All translations of a source sentence are in the
    same split, so that no sentence is tested that anyone has trained on.

    Parameters
    ----------
    **settings
        See `shard_descriptors.text.translation_settings.TranslationShardSettings`.

    Raises
    ------
    InputError
        A wrong setting, missing or unreadable data, too many malformed lines, or nothing to train on.
    """

    classes = ()
    sample_description = "a sentence, str"
    target_description = "its translation, str"

    def __init__(self, **settings: Any) -> None:
        own = _check(settings)
        self._fill(own, *_divide(own))

    @classmethod
    def open_all(cls, **settings: Any) -> list[TranslationShard]:
        """Open the shards of every rank, reading the data once; shards may be empty.

        Parameters
        ----------
        **settings
            As for one shard; `rank` is not looked at.
        """
        first = _check({**settings, "rank": 0})
        splits, left_out = _divide(first)
        shards = []
        for rank in range(first.worldsize):
            shard = cls.__new__(cls)
            shard._fill(replace(first, rank=rank), splits, left_out, may_be_empty=True)
            shards.append(shard)
        return shards

    def _fill(
        self,
        settings: TranslationShardSettings,
        splits: Whole,
        left_out: Mapping[str, int],
        may_be_empty: bool = False,
    ) -> None:
        self.settings = settings
        self.left_out = left_out
        # A plan asks for the languages as well: the same sentences the other way round would spoil its model.
        self.dataset = "_".join(("sentence_pairs", *settings.languages))
        self._splits = {name: PairSplit(splits[name][settings.rank]) for name in SPLITS}
        if not may_be_empty:
            self._check_not_empty()

    def split(self, name: SplitName) -> Split:
        """Return the samples of ``train``, ``validation`` or ``test``."""
        return self._splits[name]

    def described_settings(self) -> Mapping[str, Any]:
        """Return the settings that decide what a sample is; those of this machine left out."""
        return {key: value for key, value in asdict(self.settings).items() if key not in MACHINE_SETTINGS}

    def _check_not_empty(self) -> None:
        """Refuse a shard that cannot train, unless it is there for its test split alone."""
        own = self.settings
        which = f"shard {own.rank} of {own.worldsize} (partition: {own.partition})"
        only_tests = own.worldsize == 1 and len(self._splits["test"])
        if not len(self._splits["train"]) and not only_tests:
            raise InputError(
                f"{which} of {own.root or own.hub} is empty; lower worldsize or change partition"
            )
        for name, split in self._splits.items():
            if not len(split):
                log.warning("%s holds no sample of the split %s", which, name)


def _check(settings: Mapping[str, Any]) -> TranslationShardSettings:
    return checked(TranslationShardSettings, settings, "the translation shard")


def _divide(settings: TranslationShardSettings) -> tuple[Whole, Counter[str]]:
    """Read the data, split it, and divide train and validation among the ranks; and count what is left out."""
    pairs, left_out = read_pairs(settings)
    read = len(pairs)
    if settings.max_samples is not None:
        kept = {pair.id for pair in draw(pairs, settings.max_samples, lambda pair: pair.id, settings.seed)}
        pairs = [pair for pair in pairs if pair.id in kept]
    left_out["pairs beyond max_samples"] = read - len(pairs)
    whole = _published(pairs) if settings.split == "published" else _by_shares(pairs, settings)
    left_out["pairs whose source sentence stands in another split"] = len(pairs) - sum(
        map(len, whole.values())
    )
    divided: dict[SplitName, list[list[Pair]]] = {
        "train": _partition(whole["train"], settings),
        "validation": _partition(whole["validation"], settings),
        "test": [whole["test"]] * settings.worldsize,
    }
    return divided, +left_out


def _published(pairs: Sequence[Pair]) -> dict[SplitName, list[Pair]]:
    """Split as the authors did, but train on no source sentence that is measured on."""
    whole = {name: [pair for pair in pairs if pair.published == name] for name in SPLITS}
    tested = {pair.group for pair in whole["test"]}
    whole["validation"] = [pair for pair in whole["validation"] if pair.group not in tested]
    measured = tested | {pair.group for pair in whole["validation"]}
    whole["train"] = [pair for pair in whole["train"] if pair.group not in measured]
    if left_out := len(pairs) - sum(map(len, whole.values())):
        log.warning("left out %d pairs whose source sentence stands in another split", left_out)
    return whole


def _by_shares(pairs: Sequence[Pair], settings: TranslationShardSettings) -> dict[SplitName, list[Pair]]:
    groups = sorted({pair.group for pair in pairs})
    drawn = draw(groups, len(groups), str, settings.seed)
    test = round(settings.test_share * len(drawn))
    validation = round(settings.validation_share * len(drawn))
    side: dict[str, SplitName] = dict.fromkeys(drawn, "train")
    side.update(dict.fromkeys(drawn[:test], "test"))
    side.update(dict.fromkeys(drawn[test : test + validation], "validation"))
    return {name: [pair for pair in pairs if side[pair.group] == name] for name in SPLITS}


def _partition(pairs: Sequence[Pair], settings: TranslationShardSettings) -> list[list[Pair]]:
    """Divide pairs among the ranks; every pair goes to exactly one."""
    shards: list[list[Pair]] = [[] for _ in range(settings.worldsize)]
    if settings.partition == "length":
        by_length = sorted(pairs, key=lambda pair: (pair.length, order(settings.seed, pair.id)))
        ends = [round(len(pairs) * rank / settings.worldsize) for rank in range(settings.worldsize + 1)]
        return [by_length[start:end] for start, end in pairwise(ends)]
    ranks = assign(
        ids=[pair.id for pair in pairs],
        labels=[pair.length for pair in pairs],
        groups=[pair.group for pair in pairs],
        kind=settings.partition,
        worldsize=settings.worldsize,
        alpha=settings.alpha,
        seed=settings.seed,
    )
    for pair, rank in zip(pairs, ranks, strict=True):
        shards[rank].append(pair)
    return shards
