"""Real English-French pairs of Tatoeba, where the environment variable FRA_ENG_FILE says where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shard_descriptors.descriptor import SPLITS
from shard_descriptors.text.translation import TranslationShard
from shard_descriptors.text.words import words
from tests.checkout import PLANS

FILE = os.environ.get("FRA_ENG_FILE", "")
pytestmark = pytest.mark.skipif(not FILE, reason="FRA_ENG_FILE is not set: no real sentence pairs here")
VOCABULARIES = PLANS / "vocabulary"


def test_three_sites_train_on_no_sentence_that_is_tested_and_every_line_can_be_read() -> None:
    shards = TranslationShard.open_all(root=Path(FILE), worldsize=3, max_unreadable=0.0, seed=1)
    groups = {name: {group for shard in shards for group in shard.split(name).groups} for name in SPLITS}
    assert groups["train"].isdisjoint(groups["validation"] | groups["test"])
    assert groups["validation"].isdisjoint(groups["test"])
    assert 0.08 < len(groups["test"]) / sum(map(len, groups.values())) < 0.12
    sizes = [len(shard.split("train")) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_the_vocabularies_of_the_plans_know_most_words_of_the_test_sentences() -> None:
    for suffix, settings in (("", {}), ("_short", {"max_words": 6})):
        test = TranslationShard(root=Path(FILE), seed=1, **settings).split("test")
        for field, language in (("source", "english"), ("target", "french")):
            known = set((VOCABULARIES / f"{language}{suffix}.txt").read_text("utf-8").split())
            said = [word for sample in test for word in words(sample[field])]
            assert sum(word in known for word in said) / len(said) > 0.85, (language, suffix)
