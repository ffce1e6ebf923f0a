"""Spoken keywords for tests: real audio files, said by espeak-ng voices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shard_descriptors.synthesis.synthesis import WORDS, synthesise


def make_speech_folder(
    path: Path, *, words: Sequence[str] = WORDS, speakers: int = 10, takes: int = 1, seed: int = 0
) -> Path:
    """Synthesise a small Speech Commands folder (180 clips in two seconds), unless it is there."""
    synthesise(path, words=words, speakers=speakers, takes=takes, seed=seed, background_seconds=12)
    return path
