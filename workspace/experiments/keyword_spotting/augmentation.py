"""Augmentation of short audio clips, a batch at a time, from the generator that is handed in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from workspace.experiments.keyword_spotting.settings import AudioAugmentation

Clips = npt.NDArray[np.float32]  # [clips, samples]
Array = npt.NDArray[Any]

SAMPLING_RATE = 16_000


def augment(clips: Clips, settings: AudioAugmentation, generator: np.random.Generator) -> Clips:
    """Return the clips moved, stretched, amplified and with noise, each by draws of its own."""
    if settings.shift_ms or settings.speed:
        clips = move_and_stretch(clips, settings.shift_ms, settings.speed, generator)
    if settings.gain_db:
        clips = clips * decibels(generator.uniform(-settings.gain_db, settings.gain_db, (len(clips), 1)))
    if settings.noise:
        clips = add_noise(clips, settings.noise, settings.noise_snr_db, generator)
    return clips


def move_and_stretch(clips: Clips, shift_ms: float, speed: float, generator: np.random.Generator) -> Clips:
    """Move clips in time and play them faster or slower, by linear interpolation; gaps are silent."""
    count, length = clips.shape
    rate = np.exp(generator.uniform(-1, 1, (count, 1)) * np.log1p(speed)).astype(np.float32)
    shift = generator.uniform(-1, 1, (count, 1)).astype(np.float32) * (shift_ms / 1000 * SAMPLING_RATE)
    middle = (length - 1) / 2
    position = (np.arange(length, dtype=np.float32) - middle) * rate + (middle - shift)
    before = np.floor(position).astype(np.int32)
    weight = position - before
    padded = np.pad(clips, ((0, 0), (2, 2)))  # so that any two neighbours beyond an end are silent
    index = np.clip(before + 2, 0, length + 2) + np.arange(count, dtype=np.int32)[:, None] * (length + 4)
    left, right = padded.ravel()[index], padded.ravel()[index + 1]
    return np.asarray(left + (right - left) * weight, np.float32)


def add_noise(clips: Clips, probability: float, snr_db: list[float], generator: np.random.Generator) -> Clips:
    """Add noise between white and brown to some of the clips."""
    count, length = clips.shape
    spectrum = np.fft.rfft(generator.standard_normal((count, length), dtype=np.float32))
    slope = generator.uniform(0, 1, (count, 1)).astype(np.float32)
    spectrum *= np.arange(1, spectrum.shape[1] + 1, dtype=np.float32) ** -slope
    noise = np.fft.irfft(spectrum, length).astype(np.float32)
    level = (
        root_mean_square(clips)
        / root_mean_square(noise)
        / decibels(generator.uniform(snr_db[0], snr_db[1], (count, 1)))
    )
    level *= generator.uniform(size=(count, 1)) < probability
    return np.asarray(clips + level * noise, np.float32)


def root_mean_square(clips: Clips) -> Array:
    """Return each clip's level, as a column; never quite zero."""
    return np.asarray(np.sqrt(np.mean(clips * clips, axis=1, keepdims=True)) + 1e-8)


def decibels(values: Array) -> Array:
    """Return amplitudes of levels in dB, as float32."""
    return np.asarray(10 ** (values / 20), np.float32)
