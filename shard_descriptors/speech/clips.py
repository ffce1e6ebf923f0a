"""A sample of speech before it is read."""

from __future__ import annotations

from dataclasses import dataclass

from shard_descriptors.speech.audio import AudioFile


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
