"""A filterbank for a convolution over the waveform to start from: Gabor filters, spaced as the ear spaces them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Array = npt.NDArray[Any]
LOWEST_HZ, HIGHEST_HZ = 80.0, 7600.0


def start_as_filterbank(convolution: nn.Conv1d, sampling_rate: int = 16_000) -> None:
    """Set the weights of a convolution over the waveform, in place.

    Each pair of channels becomes a cosine and a sine under one Gaussian window, of unit norm: a band of the mel scale
    in both phases. Training goes on from there; with little data it gets much further than from noise.

    Parameters
    ----------
    convolution : torch.nn.Conv1d
        With one input channel and an even number of output channels.
    sampling_rate : int
        Of the waveform, in Hz.
    """
    bands, size = convolution.out_channels // 2, convolution.kernel_size[0]
    edges = _mel_to_hz(np.linspace(_hz_to_mel(LOWEST_HZ), _hz_to_mel(HIGHEST_HZ), bands + 2))
    centre, width = edges[1:-1, None], (edges[2:] - edges[:-2])[:, None]
    seconds = (np.arange(size) - (size - 1) / 2)[None] / sampling_rate
    window = np.exp(-1.28 * (seconds * width) ** 2)
    phase = 2 * np.pi * centre * seconds
    filters = np.stack([window * np.cos(phase), window * np.sin(phase)], axis=1).reshape(2 * bands, 1, size)
    filters /= np.linalg.norm(filters, axis=2, keepdims=True)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(filters))


def _hz_to_mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def _mel_to_hz(mel: Array) -> Array:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
