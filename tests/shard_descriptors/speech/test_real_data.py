"""The real part of Speech Commands, where the environment variable SPEECH_COMMANDS_ROOT says where it is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from shard_descriptors.descriptor import SPLITS, concatenate
from shard_descriptors.speech.speech_commands import SpeechCommandsShard

ROOT = os.environ.get("SPEECH_COMMANDS_ROOT", "")
pytestmark = pytest.mark.skipif(
    not ROOT, reason="SPEECH_COMMANDS_ROOT is not set: no real Speech Commands here"
)


@pytest.mark.parametrize("classes", ["ten_words", "superb", "all_words"])
def test_three_speaker_disjoint_envoys_and_a_fifth_of_the_speakers_to_test_on(classes: str) -> None:
    shards = [
        SpeechCommandsShard(
            root=Path(ROOT), classes=classes, split="speaker", partition="speaker", rank=rank, worldsize=3
        )
        for rank in range(3)
    ]
    speakers = [{group for name in SPLITS[:2] for group in shard.split(name).groups} for shard in shards]
    for shard in shards:
        test = set(shard.split("test").groups)
        assert all(test.isdisjoint(held) for held in speakers)
    assert not set.intersection(*speakers)
    sizes = [len(shard.split("train")) for shard in shards]
    assert max(sizes) - min(sizes) <= 3
    words = {group for held in speakers for group in held if "@" not in group}
    tested = {group for group in shards[0].split("test").groups if "@" not in group}
    assert 0.1 < len(tested) / (len(words) + len(tested)) < 0.3


def test_every_clip_of_the_real_part_can_be_heard() -> None:
    shard = SpeechCommandsShard(root=Path(ROOT), split="speaker", max_unreadable=0.0)
    for sample in concatenate([shard.split(name) for name in SPLITS]):
        assert sample["audio"].shape == (16000,)
        assert np.isfinite(sample["audio"]).all()
