"""How the samples of a split are divided among shards, deterministically."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from shard_descriptors.clips import Clip, order
from shard_descriptors.settings import SpeechCommandsSettings


def partition(
    clips: Sequence[Clip], silence: int | None, settings: SpeechCommandsSettings
) -> list[list[Clip]]:
    """Divide clips among the shards; every clip goes to exactly one.

    Parameters
    ----------
    clips : sequence of Clip
        One split of the whole dataset.
    silence : int, optional
        The label of silence. It has no speakers: it is divided by the seconds it was cut from.
    settings : SpeechCommandsSettings
        The kind of partition, `worldsize`, `alpha` and `seed`.

    Returns
    -------
    list of list of Clip
        One list for each rank, in the order of `clips`.
    """
    spoken = [clip for clip in clips if clip.label != silence]
    silent = [clip for clip in clips if clip.label == silence]
    shards: list[list[Clip]] = [[] for _ in range(settings.worldsize)]
    for clip, shard in zip(spoken, _assign(spoken, settings), strict=True):
        shards[shard].append(clip)
    seconds = list({clip.speaker: clip for clip in silent}.values())
    shard_of = dict(zip((clip.speaker for clip in seconds), _assign(seconds, settings), strict=True))
    for clip in silent:
        shards[shard_of[clip.speaker]].append(clip)
    return shards


def _assign(clips: Sequence[Clip], settings: SpeechCommandsSettings) -> list[int]:
    if settings.partition == "speaker":
        return _by_speaker(clips, settings.worldsize, settings.seed)
    if settings.partition == "dirichlet":
        return _by_dirichlet(clips, settings.worldsize, settings.alpha, settings.seed)
    return [index % settings.worldsize for index in range(len(clips))]


def _by_speaker(clips: Sequence[Clip], worldsize: int, seed: int) -> list[int]:
    """Give each speaker, those with most clips first, to the shard that has the fewest clips."""
    count = Counter(clip.speaker for clip in clips)
    load = [0] * worldsize
    shard_of = {}
    for speaker in sorted(count, key=lambda speaker: (-count[speaker], order(seed, speaker))):
        shard_of[speaker] = load.index(min(load))
        load[shard_of[speaker]] += count[speaker]
    return [shard_of[clip.speaker] for clip in clips]


def _by_dirichlet(clips: Sequence[Clip], worldsize: int, alpha: float, seed: int) -> list[int]:
    """Draw the shards' shares of each label; a label has the same shares in train and in validation."""
    shards = [0] * len(clips)
    for label in {clip.label for clip in clips}:
        shares = np.random.default_rng([seed, label]).dirichlet(np.full(worldsize, alpha))
        drawn = sorted(
            (index for index, clip in enumerate(clips) if clip.label == label),
            key=lambda index: order(seed, clips[index].id),
        )
        ends = np.rint(np.cumsum(shares) * len(drawn))
        for position, index in enumerate(drawn):
            shards[index] = min(int(np.searchsorted(ends, position, side="right")), worldsize - 1)
    return shards
