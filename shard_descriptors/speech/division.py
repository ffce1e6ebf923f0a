"""How clips are divided among shards: by what every family divides by, and silence by the seconds that it is cut from."""

from __future__ import annotations

from collections.abc import Sequence

from shard_descriptors.partition import assign
from shard_descriptors.speech.clips import Clip
from shard_descriptors.speech.settings import SpeechCommandsSettings


def divide(clips: Sequence[Clip], silence: int | None, settings: SpeechCommandsSettings) -> list[list[Clip]]:
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
    return assign(
        ids=[clip.id for clip in clips],
        labels=[clip.label for clip in clips],
        groups=[clip.speaker for clip in clips],
        kind="group" if settings.partition == "speaker" else settings.partition,
        worldsize=settings.worldsize,
        alpha=settings.alpha,
        seed=settings.seed,
    )
