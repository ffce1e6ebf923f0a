"""Silence: seconds of the background recordings."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS, SplitName
from shard_descriptors.drawing import draw, order
from shard_descriptors.speech.audio import read_background
from shard_descriptors.speech.classes import BACKGROUND, SILENCE
from shard_descriptors.speech.clips import Clip
from shard_descriptors.speech.corpus import Corpus
from shard_descriptors.speech.settings import SpeechCommandsSettings


def cut_silence(
    corpus: Corpus, wanted: dict[SplitName, int], label: int, settings: SpeechCommandsSettings
) -> dict[SplitName, list[Clip]]:
    """Cut the background recordings into seconds: first those of train, then validation, then test.

    No second is in two splits. Where more samples are wanted than there are seconds, one is used again at
    another volume (both keep the same speaker, so that they stay in one shard).
    """
    ends = list(accumulate(wanted[split] for split in SPLITS))
    seconds: dict[SplitName, list[Clip]] = {split: [] for split in SPLITS}
    for background in corpus.backgrounds:
        length = read_background(background.file, strict=settings.sampling_rate == "strict").seconds
        begin = 0
        for split, end in zip(SPLITS, ends, strict=True):
            stop = round(length * end / ends[-1]) if ends[-1] else 0
            for second in range(begin, stop):
                name = f"{background.name}@{second}"
                seconds[split].append(Clip(f"{SILENCE}/{name}", label, name, background.file, second))
            begin = stop
    return {split: _repeat(corpus, seconds[split], wanted[split], settings.seed) for split in SPLITS}


def _repeat(corpus: Corpus, seconds: list[Clip], count: int, seed: int) -> list[Clip]:
    if count and not seconds:
        raise InputError(
            f"{corpus.name}: the recordings of {BACKGROUND} are too short to cut {count} silences from"
        )
    drawn = draw(seconds, len(seconds), lambda clip: clip.id, seed)
    clips = []
    for index in range(count):
        clip, again = drawn[index % len(drawn)], index // len(drawn)
        if again:
            name = f"{clip.id}x{again}"
            gain = 0.1 + 0.9 * order(seed, name) / 2**64
            clip = replace(clip, id=name, gain=gain)
        clips.append(clip)
    return sorted(clips, key=lambda clip: clip.id)
