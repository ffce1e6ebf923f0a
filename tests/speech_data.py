"""Spoken keywords for tests: real audio files, said by espeak-ng voices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from shard_descriptors.synthesis.synthesis import WORDS, synthesise


def make_speech_folder(
    path: Path, *, words: Sequence[str] = WORDS, speakers: int = 10, takes: int = 1, seed: int = 0
) -> Path:
    """Synthesise a small Speech Commands folder (180 clips in two seconds), unless it is there."""
    synthesise(path, words=words, speakers=speakers, takes=takes, seed=seed, background_seconds=12)
    return path


def write_clip(
    file: Path, *, seconds: float = 1.0, rate: int = 16_000, pitch: int = 200, **written_as: Any
) -> Path:
    """Write a tone as a real audio file, with its folder; what is written otherwise goes to `soundfile.write`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)
    soundfile.write(file, wave, rate, **written_as)
    return file


def write_word_folders(
    root: Path, words: Sequence[str] = ("lion", "tiger"), clips: int = 10, suffix: str = ".wav"
) -> list[str]:
    """Write clips of two words by as many speakers as there are clips of each; return the names as a list has them."""
    names = [f"{word}/{speaker:08x}_nohash_0{suffix}" for word in words for speaker in range(clips)]
    for number, name in enumerate(names):
        write_clip(root / name, pitch=100 + 10 * number)
    return names
