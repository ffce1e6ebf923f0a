"""From a corpus to the samples of the whole dataset: classes, splits, silence, and what cannot be read."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean
from typing import TypeVar

from federation.errors import InputError
from shard_descriptors.audio import AudioFile, UnreadableAudio, read_header
from shard_descriptors.classes import BACKGROUND, SILENCE, UNKNOWN
from shard_descriptors.corpus import Corpus, Recording
from shard_descriptors.descriptor import SPLITS, SplitName
from shard_descriptors.settings import SpeechCommandsSettings

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Clip:
    """One sample before it is read.

    Attributes
    ----------
    second : int, optional
        Which second of the file, for what is cut from a long recording.
    gain : float
        How loud it is to be.
    """

    id: str
    label: int
    speaker: str
    file: AudioFile
    second: int | None = None
    gain: float = 1.0


def select(
    corpus: Corpus, classes: Sequence[str], settings: SpeechCommandsSettings
) -> dict[SplitName, list[Clip]]:
    """Choose the samples of the whole dataset, which the shards then divide.

    Parameters
    ----------
    corpus : Corpus
        The recordings.
    classes : sequence of str
        In the order of the labels.
    settings : SpeechCommandsSettings
        How to split, how much silence and unknown, what to do about bad files.

    Returns
    -------
    dict of str to list of Clip
        The splits; words sorted by id, then silence. The same whatever order the file system lists.

    Raises
    ------
    InputError
        A class without recordings, or too many unreadable files.
    """
    side = _sides(corpus, settings)
    recordings = _readable(_wanted(corpus, classes), settings)
    _check_classes(corpus, recordings, classes)
    labels = {name: label for label, name in enumerate(classes)}
    words = [name for name in classes if name not in (SILENCE, UNKNOWN)]
    chosen: dict[SplitName, list[Clip]] = {}
    silence: dict[SplitName, int] = {}
    for split in SPLITS:
        here = [recording for recording in recordings if side(recording) == split]
        count = Counter(recording.word for recording in here)
        per_word = mean(count[word] for word in words) if words else 0.0
        if UNKNOWN in labels:
            others = [recording for recording in here if recording.word not in labels]
            kept = set(
                _draw(others, round(settings.unknown_share * per_word), lambda other: other.id, settings.seed)
            )
            here = [recording for recording in here if recording.word in labels or recording in kept]
        chosen[split] = [
            Clip(
                recording.id,
                labels.get(recording.word, labels.get(UNKNOWN, -1)),
                recording.speaker,
                recording.file,
            )
            for recording in here
        ]
        silence[split] = 0 if count[SILENCE] else round(settings.silence_share * per_word)
    if SILENCE in labels:
        cut = _cut_silence(corpus, silence, labels[SILENCE], settings)
        chosen = {split: chosen[split] + cut[split] for split in SPLITS}
    return chosen


def order(seed: int, name: str) -> int:
    """Return a number by which names are drawn: it depends on the seed and the name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def _draw(things: Sequence[T], count: int, name: Callable[[T], str], seed: int) -> list[T]:
    return sorted(things, key=lambda thing: order(seed, name(thing)))[:count]


def _sides(corpus: Corpus, settings: SpeechCommandsSettings) -> Callable[[Recording], SplitName]:
    """Decide the split of each recording; ``speaker`` looks at all words, so all classes split alike."""
    if settings.split == "published":
        return lambda recording: recording.published
    speakers = sorted({recording.speaker for recording in corpus.recordings if recording.word != SILENCE})
    drawn = _draw(speakers, len(speakers), str, settings.seed)
    test = _at_least_one(settings.test_share, len(drawn))
    validation = _at_least_one(settings.validation_share, len(drawn))
    if test + validation >= len(drawn):
        raise InputError(
            f"{corpus.name}: {len(drawn)} speakers are too few for split: speaker with test_share "
            f"{settings.test_share} and validation_share {settings.validation_share}"
        )
    held_out: dict[str, SplitName] = dict.fromkeys(drawn[:test], "test")
    held_out.update(dict.fromkeys(drawn[test : test + validation], "validation"))
    return lambda recording: held_out.get(recording.speaker, "train")


def _at_least_one(share: float, count: int) -> int:
    return max(1, round(share * count)) if share else 0


def _wanted(corpus: Corpus, classes: Sequence[str]) -> list[Recording]:
    return [
        recording
        for recording in corpus.recordings
        if recording.word in classes or (UNKNOWN in classes and recording.word != SILENCE)
    ]


def _readable(recordings: list[Recording], settings: SpeechCommandsSettings) -> list[Recording]:
    """Look at every header; skip and list what cannot be used, unless it is too much."""
    good, bad = [], []
    for recording in recordings:
        try:
            read_header(recording.file, strict=settings.sampling_rate == "strict")
            good.append(recording)
        except UnreadableAudio as error:
            bad.append(str(error))
    for line in bad:
        log.warning("skipped: %s", line)
    if len(bad) > settings.max_unreadable * len(recordings):
        raise InputError(
            f"{len(bad)} of {len(recordings)} files cannot be used, more than max_unreadable "
            f"{settings.max_unreadable:g} allows; the first is {bad[0]}"
        )
    if bad:
        log.warning("skipped %d of %d files that cannot be used", len(bad), len(recordings))
    return good


def _check_classes(corpus: Corpus, recordings: list[Recording], classes: Sequence[str]) -> None:
    words = {recording.word for recording in recordings}
    for name in classes:
        if name == SILENCE:
            if not corpus.backgrounds and SILENCE not in words:
                raise InputError(f"{corpus.name}: no {BACKGROUND}/*.wav to cut the class {SILENCE} from")
        elif name == UNKNOWN:
            if not words - set(classes) and UNKNOWN not in words:
                raise InputError(
                    f"{corpus.name}: no words beside the classes, so nothing for the class {UNKNOWN}"
                )
        elif name not in words:
            raise InputError(
                f"{corpus.name}: no recording of the class {name!r}; add it or change the setting classes"
            )


def _cut_silence(
    corpus: Corpus, wanted: dict[SplitName, int], label: int, settings: SpeechCommandsSettings
) -> dict[SplitName, list[Clip]]:
    """Cut the background recordings into seconds: first those of train, then validation, then test.

    No second is in two splits. Where more samples are wanted than there are seconds, one is used again at
    another volume (both keep the same speaker, so that they stay in one shard).
    """
    ends = list(accumulate(wanted[split] for split in SPLITS))
    seconds: dict[SplitName, list[Clip]] = {split: [] for split in SPLITS}
    for background in corpus.backgrounds:
        length = read_header(background.file, strict=settings.sampling_rate == "strict").seconds
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
    drawn = _draw(seconds, len(seconds), lambda clip: clip.id, seed)
    clips = []
    for index in range(count):
        clip, again = drawn[index % len(drawn)], index // len(drawn)
        if again:
            name = f"{clip.id}x{again}"
            gain = 0.1 + 0.9 * order(seed, name) / 2**64
            clip = Clip(
                name, label=clip.label, speaker=clip.speaker, file=clip.file, second=clip.second, gain=gain
            )
        clips.append(clip)
    return sorted(clips, key=lambda clip: clip.id)
