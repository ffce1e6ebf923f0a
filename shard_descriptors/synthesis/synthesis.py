"""Synthesises a Speech Commands folder: many voices say the words, reproducibly from a seed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from federation.errors import InputError
from federation.paths import remove
from shard_descriptors.speech.audio import CLIP_LENGTH, SAMPLING_RATE
from shard_descriptors.speech.classes import BACKGROUND, TEN_WORDS
from shard_descriptors.speech.noise import Wave, babble, coloured_noise, hum
from shard_descriptors.synthesis.espeak import Utterance, espeak_version, speak
from shard_descriptors.synthesis.voices import Speaker, draw_speakers

WORDS = (*TEN_WORDS, "bed", "cat", "happy", "house", "marvin", "seven", "three", "zero")
CHATTER = "the quick brown fox jumps over the lazy dog while she sells sea shells by the shore"
RECIPE = "synthesis.json"  # in the folder: what it was made from


@dataclass(frozen=True)
class _Take:
    file: str
    utterance: Utterance
    seed: int


def synthesise(
    folder: Path,
    *,
    words: Sequence[str] = WORDS,
    speakers: int = 40,
    takes: int = 2,
    seed: int = 0,
    background_seconds: int = 60,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Write a folder in Speech Commands layout, spoken by espeak-ng.

    Parameters
    ----------
    folder : Path
        Where to; it appears when it is complete.
    words : sequence of str
        What is said; the ten command words and eight others for ``_unknown_`` by default.
    speakers, takes : int
        How many pseudo speakers, and how often each says each word: at another pitch, rate, volume and time,
        with other noise.
    seed : int
        The same seed gives the same folder, byte for byte.
    background_seconds : int
        Length of each background recording.
    force : bool
        Replace a folder that was synthesised otherwise.
    progress : callable, optional
        Is told how many clips of how many are written.

    Returns
    -------
    bool
        False if the folder was there already, made from the same.

    Raises
    ------
    InputError
        The folder holds something else, a word is not one, or espeak-ng is missing.
    """
    _check_request(words, speakers, takes, background_seconds)
    recipe = {
        "words": list(words),
        "speakers": speakers,
        "takes": takes,
        "seed": seed,
        "background_seconds": background_seconds,
        "espeak": espeak_version(),
    }
    if _is_there(folder, recipe, force):
        return False
    part = folder.with_name(f".{folder.name}.part")
    remove(part.parent, part.name, missing_ok=True)
    try:
        voices = draw_speakers(speakers, seed)
        _write_clips(part, _plan_takes(voices, words, takes, seed), progress)
        _write_backgrounds(part / BACKGROUND, voices, seed, background_seconds * SAMPLING_RATE)
        (part / RECIPE).write_text(json.dumps(recipe, indent=1) + "\n")
        if folder.exists():
            remove(folder.parent, folder.name)
        part.rename(folder)
    finally:
        with suppress(OSError):
            remove(part.parent, part.name)
    return True


def _check_request(words: Sequence[str], speakers: int, takes: int, background_seconds: int) -> None:
    for word in words:
        if not re.fullmatch(r"[a-z]+", word):
            raise InputError(f"words: {word!r} is not a word of the letters a to z")
    if not words or len(set(words)) < len(words):
        raise InputError("words: give at least one, and none twice")
    for name, count in (("speakers", speakers), ("takes", takes), ("background_seconds", background_seconds)):
        if count < 1:
            raise InputError(f"{name}: must be at least 1, not {count}")


def _is_there(folder: Path, recipe: dict[str, object], force: bool) -> bool:
    """Tell whether the folder holds what is asked for; refuse one that holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        made_from = json.loads((folder / RECIPE).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: holds something that was not synthesised; choose another folder"
        ) from error
    if made_from != recipe and not force:
        raise InputError(
            f"{folder}: was synthesised from other settings; choose another folder or give --force"
        )
    return bool(made_from == recipe)


def _plan_takes(speakers: Sequence[Speaker], words: Sequence[str], takes: int, seed: int) -> list[_Take]:
    plan = []
    for speaker in speakers:
        for word in words:
            for take in range(takes):
                file = f"{word}/{speaker.hash}_nohash_{take}.wav"
                own_seed = _number(f"{seed}:{file}")
                generator = np.random.default_rng(own_seed)
                pitch = int(np.clip(speaker.pitch + generator.integers(-8, 9), 0, 99))
                rate = speaker.rate + int(generator.integers(-20, 21))
                spoken = Utterance(word, speaker.accent, speaker.variant, pitch, rate, own_seed % 2**31)
                plan.append(_Take(file, spoken, own_seed))
    return plan


def _write_clips(folder: Path, plan: Sequence[_Take], progress: Callable[[int, int], None] | None) -> None:
    for word in {take.utterance.text for take in plan}:
        (folder / word).mkdir(parents=True)
    for done, (take, wave) in enumerate(
        zip(plan, speak([take.utterance for take in plan]), strict=True), start=1
    ):
        _write(folder / take.file, _record(wave, np.random.default_rng([take.seed, 1])))
        if progress is not None:
            progress(done, len(plan))


def _record(wave: Wave, generator: np.random.Generator) -> Wave:
    """Place a word somewhere in one second, at some volume, over some noise."""
    loud = np.flatnonzero(np.abs(wave) > 0.01)
    word = wave[loud[0] : loud[-1] + 1][:CLIP_LENGTH] if len(loud) else wave[:0]
    start = int(generator.integers(CLIP_LENGTH - len(word) + 1))
    clip = np.zeros(CLIP_LENGTH, np.float32)
    clip[start : start + len(word)] = word
    clip *= generator.uniform(0.1, 0.8) / max(float(np.abs(clip).max()), 1e-6)
    noise = coloured_noise(CLIP_LENGTH, generator.uniform(0, 2), generator)
    level = np.sqrt(np.mean(np.square(clip))) * 10 ** (-generator.uniform(10, 40) / 20)
    clip += noise * np.float32(level)
    return clip


def _write_backgrounds(folder: Path, speakers: Sequence[Speaker], seed: int, length: int) -> None:
    """Write long recordings without command words; the voices of the babble say something else."""
    folder.mkdir()
    crowd = [
        Utterance(CHATTER, speaker.accent, speaker.variant, speaker.pitch, speaker.rate, seed % 2**31)
        for speaker in speakers[:8]
    ]
    generator = np.random.default_rng([seed, 2])
    recordings = {
        "white_noise": coloured_noise(length, 0.0, generator),
        "pink_noise": coloured_noise(length, 1.0, generator),
        "brown_noise": coloured_noise(length, 2.0, generator),
        "mains_hum": hum(length, generator),
        "babble": babble(length, list(speak(crowd)), generator),
    }
    for name, wave in recordings.items():
        _write(folder / f"{name}.wav", wave * np.float32(0.05))


def _write(file: Path, wave: Wave) -> None:
    samples: npt.NDArray[np.int16] = np.clip(np.rint(wave * 32767), -32768, 32767).astype(np.int16)
    soundfile.write(file, samples, SAMPLING_RATE, subtype="PCM_16")


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
