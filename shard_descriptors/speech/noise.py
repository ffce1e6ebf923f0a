"""Noise to mix into clips, and background recordings to cut silence from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shard_descriptors.speech.audio import SAMPLING_RATE

Wave = npt.NDArray[np.float32]


def coloured_noise(length: int, slope: float, generator: np.random.Generator) -> Wave:
    """Make noise whose power falls by 1/f**slope.

    Parameters
    ----------
    length : int
        Samples.
    slope : float
        0 is white, 1 pink, 2 brown.
    generator : numpy.random.Generator
        Where it is drawn from.

    Returns
    -------
    numpy.ndarray of float32
        With a root mean square of 1.
    """
    spectrum = np.fft.rfft(generator.standard_normal(length))
    frequency = np.arange(len(spectrum), dtype=np.float64)
    frequency[0] = 1.0
    wave = np.fft.irfft(spectrum * frequency ** (-slope / 2), length)
    return _unit(wave)


def hum(length: int, generator: np.random.Generator) -> Wave:
    """Make the hum of a 50 Hz mains with some hiss, as `coloured_noise` does."""
    time = np.arange(length) / SAMPLING_RATE
    tones = sum(
        np.sin(2 * np.pi * 50 * harmonic * time + generator.uniform(0, 2 * np.pi)) / harmonic
        for harmonic in range(1, 12)
    )
    swell = 1 + 0.3 * np.sin(2 * np.pi * 0.2 * time)
    return _unit(tones * swell + 0.05 * generator.standard_normal(length))


def babble(length: int, voices: Sequence[Wave], generator: np.random.Generator) -> Wave:
    """Let several voices talk at once, each in a loop from a place of its own."""
    together = np.zeros(length)
    for voice in voices:
        start = int(generator.integers(len(voice)))
        together += np.resize(np.roll(voice, start), length)
    return _unit(together)


def _unit(wave: npt.NDArray[np.float64]) -> Wave:
    level: float = np.sqrt(np.mean(np.square(wave)))
    return np.asarray(wave / level, np.float32)
