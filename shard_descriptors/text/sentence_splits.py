"""How sentences are split and divided, so that no sentence is both learnt from and tested on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from federation.errors import InputError
from shard_descriptors.descriptor import SplitName
from shard_descriptors.drawing import draw
from shard_descriptors.partition import assign
from shard_descriptors.text.sentences import Sentence
from shard_descriptors.text.sentiment_settings import SentimentShardSettings

log = logging.getLogger(__name__)


def split(sentences: Sequence[Sentence], settings: SentimentShardSettings) -> dict[SplitName, list[Sentence]]:
    """Put each sentence into one split; all that are the same sentence go together.

    ``random`` draws validation and test by seed. ``published`` keeps the authors' test set and leaves out of train what stands
    there too; validation is theirs, or drawn from train where they have none left.

    Raises
    ------
    InputError
        If there are too few sentences, or no published test set.
    """
    held_out: dict[str, SplitName] = {}
    if settings.split == "published":
        held_out = {s.group: "validation" for s in sentences if s.published == "validation"}
        held_out |= {s.group: "test" for s in sentences if s.published == "test"}
        if "test" not in held_out.values():
            raise InputError(f"{settings.root or settings.hub}: has no labelled test set; set split: random")
        repeated = [s for s in sentences if s.published != held_out.get(s.group, "train")]
        if repeated:
            log.warning("left out %d sentences that a later split repeats", len(repeated))
        gone = {s.id for s in repeated}
        sentences = [s for s in sentences if s.id not in gone]
    free = sorted({sentence.group for sentence in sentences} - held_out.keys())
    validation = 0 if "validation" in held_out.values() else round(settings.validation_share * len(free))
    test = 0 if "test" in held_out.values() else round(settings.test_share * len(free))
    if validation + test >= len(free):
        raise InputError(
            f"{settings.root or settings.hub}: {len(free)} sentences are too few for validation_share "
            f"{settings.validation_share} and test_share {settings.test_share}"
        )
    drawn = draw(free, validation + test, str, settings.seed)
    held_out |= dict.fromkeys(drawn[:test], "test")
    held_out |= dict.fromkeys(drawn[test:], "validation")
    splits: dict[SplitName, list[Sentence]] = {"train": [], "validation": [], "test": []}
    for sentence in sorted(sentences, key=lambda one: one.id):
        splits[held_out.get(sentence.group, "train")].append(sentence)
    return splits


def divide(
    splits: dict[SplitName, list[Sentence]], settings: SentimentShardSettings
) -> dict[SplitName, list[list[Sentence]]]:
    """Give train and validation to the shards, by rank; every shard has all of the test split."""
    divided: dict[SplitName, list[list[Sentence]]] = {"test": [splits["test"]] * settings.worldsize}
    if settings.partition == "source":
        # Of both splits at once: a file's sentences belong to one shard.
        ranks = _ranks([*splits["train"], *splits["validation"]], settings)
        by_split = {
            "train": ranks[: len(splits["train"])],
            "validation": ranks[len(splits["train"]) :],
        }
    else:
        by_split = {
            "train": _ranks(splits["train"], settings),
            "validation": _ranks(splits["validation"], settings),
        }
    for name in ("train", "validation"):
        shards: list[list[Sentence]] = [[] for _ in range(settings.worldsize)]
        for sentence, rank in zip(splits[name], by_split[name], strict=True):
            shards[rank].append(sentence)
        divided[name] = shards
    return divided


def _ranks(sentences: Sequence[Sentence], settings: SentimentShardSettings) -> list[int]:
    return assign(
        ids=[sentence.id for sentence in sentences],
        labels=[sentence.label for sentence in sentences],
        groups=[sentence.source for sentence in sentences],
        kind="group" if settings.partition == "source" else settings.partition,
        worldsize=settings.worldsize,
        alpha=settings.alpha,
        seed=settings.seed,
    )
