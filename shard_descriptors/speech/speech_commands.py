"""Speech Commands as a shard: one second of speech in, a keyword out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS, Sample, ShardDescriptor, Split, SplitName
from shard_descriptors.speech.audio import CLIP_LENGTH, as_float, read_clip
from shard_descriptors.speech.classes import SILENCE, class_names
from shard_descriptors.speech.clips import Clip
from shard_descriptors.speech.corpus import names_speaker
from shard_descriptors.speech.division import divide
from shard_descriptors.speech.selection import select
from shard_descriptors.speech.settings import SpeechCommandsSettings, check_settings
from shard_descriptors.speech.sources import open_corpus

log = logging.getLogger(__name__)

MACHINE_SETTINGS = ("root", "source", "download", "version", "hub", "cache_mb", "max_unreadable")
BYTES_PER_CLIP = 2 * CLIP_LENGTH


class ClipSplit(Split):
    """Clips decoded when they are asked for, and kept in memory as 16-bit samples where they may be."""

    def __init__(self, clips: Sequence[Clip], keep: bool) -> None:
        self.labels = np.array([clip.label for clip in clips], np.int64)
        self.groups = [clip.speaker for clip in clips]
        self.ids = [clip.id for clip in clips]
        self.clips = list(clips)
        self._keep = keep
        self._kept: dict[int, npt.NDArray[np.int16]] = {}

    def sample(self, index: int) -> Sample:
        """Read sample `index`."""
        clip = self.clips[index]
        wave = self._kept.get(index)
        if wave is None:
            wave = read_clip(clip.file, clip.second)
            if self._keep:
                self._kept[index] = wave
        return {
            "audio": as_float(wave, clip.gain),
            "label": clip.label,
            "speaker": clip.speaker,
            "id": clip.id,
        }


class SpeechCommandsShard(ShardDescriptor):
    """One site's part of Speech Commands, or of any dataset in its layout.

    Train and validation are this shard's part; test is the whole dataset's, nobody trains on its speakers.

    Parameters
    ----------
    **settings
        See `shard_descriptors.speech.settings.SpeechCommandsSettings`.

    Raises
    ------
    InputError
        A wrong setting, a missing folder or class, too many unreadable files, or nothing to train on.
    """

    dataset = "speech_commands"
    group_name = "speakers"
    without_groups = (SILENCE,)
    sample_description = f"one second of speech, float32[{CLIP_LENGTH}] at 16 kHz"
    target_description = "the keyword, int"

    def __init__(self, **settings: Any) -> None:
        checked = check_settings(settings)
        self._fill(checked, *_divide(checked))

    @classmethod
    def open_all(cls, **settings: Any) -> list[SpeechCommandsShard]:
        """Open the shards of every rank, looking at the data once; shards may be empty.

        Parameters
        ----------
        **settings
            As for one shard; `rank` is not looked at.
        """
        checked = check_settings({**settings, "rank": 0})
        classes, splits, left_out = _divide(checked)
        shards = []
        for rank in range(checked.worldsize):
            shard = cls.__new__(cls)
            shard._fill(replace(checked, rank=rank), classes, splits, left_out, may_be_empty=True)
            shards.append(shard)
        return shards

    def _fill(
        self,
        settings: SpeechCommandsSettings,
        classes: tuple[str, ...],
        splits: Mapping[SplitName, list[list[Clip]]],
        left_out: Mapping[str, int],
        may_be_empty: bool = False,
    ) -> None:
        self.settings = settings
        self.classes = classes
        self.left_out = left_out
        clips = {name: shards[settings.rank] for name, shards in splits.items()}
        if not may_be_empty:
            _check_not_empty(clips, settings)
        room = settings.cache_mb * 2**20 // BYTES_PER_CLIP
        self._splits: dict[SplitName, ClipSplit] = {}
        for name in SPLITS:
            keep = len(clips[name]) <= room
            self._splits[name] = ClipSplit(clips[name], keep)
            room -= len(clips[name]) if keep else 0

    def split(self, name: SplitName) -> Split:
        """Return the samples of ``train``, ``validation`` or ``test``."""
        return self._splits[name]

    def remarks(self) -> list[str]:
        """Say, beside what every shard says, of how many recordings the speaker is not known."""
        silence = self.classes.index(SILENCE) if SILENCE in self.classes else None
        clips = [clip for split in self._splits.values() for clip in split.clips if clip.label != silence]
        unknown = sum(not names_speaker(clip.id) for clip in clips)
        told = (
            f"{unknown} of {len(clips)} recordings have no speaker before _nohash_ in their names: each is taken for one "
            "of its own, so that train and test may share speakers"
        )
        return super().remarks() + ([told] if unknown else [])

    def described_settings(self) -> Mapping[str, Any]:
        """Return the settings that decide what a sample is; those of this machine left out."""
        return {key: value for key, value in asdict(self.settings).items() if key not in MACHINE_SETTINGS}


def _divide(
    settings: SpeechCommandsSettings,
) -> tuple[tuple[str, ...], dict[SplitName, list[list[Clip]]], Counter[str]]:
    """Open the data: the classes, for each split what every rank holds, and what is left out."""
    corpus = open_corpus(settings)
    classes = class_names(settings.classes, (recording.word for recording in corpus.recordings))
    whole, left_out = select(corpus, classes, settings)
    silence = classes.index(SILENCE) if SILENCE in classes else None
    splits: dict[SplitName, list[list[Clip]]] = {
        "train": divide(whole["train"], silence, settings),
        "validation": divide(whole["validation"], silence, settings),
        "test": [whole["test"]] * settings.worldsize,
    }
    return classes, splits, left_out


def _check_not_empty(clips: Mapping[SplitName, list[Clip]], settings: SpeechCommandsSettings) -> None:
    """Refuse a shard that cannot train, unless it is there for its test split alone."""
    which = f"shard {settings.rank} of {settings.worldsize} (partition: {settings.partition})"
    only_tests = settings.worldsize == 1 and clips["test"]
    if not clips["train"] and not only_tests:
        raise InputError(
            f"{which} of {settings.root or settings.hub} is empty; lower worldsize or change partition"
        )
    for name, held in clips.items():
        if not held:
            log.warning("%s holds no sample of the split %s", which, name)
