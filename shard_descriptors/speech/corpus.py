"""What every source gives: recordings of words, and background recordings."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field

from shard_descriptors.descriptor import SplitName
from shard_descriptors.speech.audio import AudioFile


@dataclass(frozen=True)
class Recording:
    """One audio file of the dataset.

    Attributes
    ----------
    id : str
        Its name inside the dataset, the same wherever the dataset lies.
    word : str
        What is said; ``_silence_`` and ``_unknown_`` where the dataset has made these classes itself.
    speaker : str
        Who says it.
    file : AudioFile
        Where the audio is.
    published : {"train", "validation", "test"}
        The split in which the dataset's authors put it.
    """

    id: str
    word: str
    speaker: str
    file: AudioFile
    published: SplitName


@dataclass(frozen=True)
class Background:
    """A long recording without words, from which silence is cut."""

    name: str
    file: AudioFile


@dataclass(frozen=True)
class Corpus:
    """A whole dataset, before classes, splits and shards; both lists are sorted.

    Attributes
    ----------
    name : str
        Where it comes from, for messages.
    unusable : list of str
        What should be a recording and is none, such as a row without a label: where it is, and why.
    left_out : Counter of str
        What is not taken for part of the data set, in words, and how many.
    """

    name: str
    recordings: list[Recording]
    backgrounds: list[Background]
    unusable: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def speaker_of(file_name: str) -> str:
    """Return the speaker's hash: what stands before ``_nohash_`` in a file's name, or the name itself."""
    return re.sub(r"_nohash_.*$", "", file_name)


def names_speaker(file_name: str) -> bool:
    """Say whether a file's name says who speaks."""
    return "_nohash_" in file_name


def published_split(file_name: str, validation: float = 10.0, testing: float = 10.0) -> SplitName:
    """Tell the split by the dataset's own rule, so that a speaker never changes sides.

    It is `which_set` of the dataset's README: the SHA-1 of the speaker part of the name as a percentage.

    Parameters
    ----------
    file_name : str
        The file's name without its folder.
    validation, testing : float
        Percentages.
    """
    largest = 2**27 - 1
    digest = hashlib.sha1(speaker_of(file_name).encode(), usedforsecurity=False).hexdigest()
    percentage = (int(digest, 16) % (largest + 1)) * (100.0 / largest)
    if percentage < validation:
        return "validation"
    return "test" if percentage < validation + testing else "train"
