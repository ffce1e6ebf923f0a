"""Spoken words in Speech Commands layout: by espeak-ng's voices where they are installed, else a melody for each word."""

from __future__ import annotations

import importlib.util
import wave
from collections.abc import Callable
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shard_descriptors.speech.classes import BACKGROUND, TEN_WORDS

SPEAKERS = 20
TAKES = 2
OTHER_WORDS = ("bed", "cat", "happy", "house")
_BACKGROUND_SECONDS = 20
_RATE = 16_000
_NOTES = (300.0, 500.0, 850.0, 1400.0, 2300.0)
_WORDS = (*TEN_WORDS, *OTHER_WORDS)

Progress = Callable[[int, int], None]


def write_spoken_words(folder: Path, progress: Progress | None = None) -> str:
    """Write ``<word>/<speaker>_nohash_<take>.wav`` and background recordings; return what was made."""
    if has_voices():
        from shard_descriptors.synthesis.synthesis import synthesise

        synthesise(
            folder,
            words=_WORDS,
            speakers=SPEAKERS,
            takes=TAKES,
            background_seconds=_BACKGROUND_SECONDS,
            progress=progress,
        )
        return f"{len(_WORDS) * SPEAKERS * TAKES} clips of words that {SPEAKERS} synthetic voices say"
    write_melodies(folder)
    return (
        f"{len(_WORDS) * SPEAKERS * TAKES} clips of tones, a melody in place of each word: for voices that speak, "
        "pip install 'speech-federation[demo]'"
    )


def has_voices() -> bool:
    """Say whether espeak-ng is installed."""
    return importlib.util.find_spec("espeakng_loader") is not None


def write_melodies(folder: Path) -> None:
    """Write two notes for each word, which each of the speakers plays at a pitch and a pace of its own."""
    for word, notes in zip(_WORDS, permutations(_NOTES, 2), strict=False):
        (folder / word).mkdir(parents=True)
        for number in range(SPEAKERS):
            speaker = sha256(str(number).encode()).hexdigest()[:8]
            own = np.random.default_rng(number)
            pitch, pace = own.uniform(0.9, 1.1), own.uniform(0.15, 0.3)
            for take in range(TAKES):
                generator = np.random.default_rng([number, take, _WORDS.index(word)])
                clip = _played(pitch * np.asarray(notes), pace, generator)
                _write(folder / word / f"{speaker}_nohash_{take}.wav", clip)
    (folder / BACKGROUND).mkdir()
    for number, name in enumerate(("hiss", "rumble")):
        noise = np.random.default_rng([number]).standard_normal(_BACKGROUND_SECONDS * _RATE)
        smooth = np.convolve(noise, np.ones(1 + 20 * number) / (1 + 4 * number), "same")
        _write(folder / BACKGROUND / f"{name}.wav", 0.03 * smooth)


def _played(
    notes: npt.NDArray[np.float64], seconds: float, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Play notes one after another, somewhere in a second with some noise."""
    length = int(seconds * _RATE)
    time = np.arange(length) / _RATE
    swell = np.sin(np.pi * np.arange(length) / length)
    melody = np.concatenate([np.sin(2 * np.pi * hertz * time) * swell for hertz in notes])
    clip = generator.uniform(0.001, 0.02) * generator.standard_normal(_RATE)
    start = int(generator.integers(_RATE - len(melody) + 1))
    clip[start : start + len(melody)] += generator.uniform(0.1, 0.6) * melody
    return clip


def _write(file: Path, clip: npt.NDArray[np.floating[Any]]) -> None:
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(_RATE)
        out.writeframes(np.clip(np.rint(clip * 32767), -32768, 32767).astype("<i2").tobytes())
