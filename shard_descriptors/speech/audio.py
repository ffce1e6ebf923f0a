"""Audio files to clips: one second, one channel, 16 kHz, 16 bits."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import resample_poly

from federation.errors import InputError
from federation.files import open_regular, read_regular

SAMPLING_RATE = 16_000
CLIP_LENGTH = SAMPLING_RATE
SUFFIXES = frozenset(
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
)
"""The endings of files that are taken for recordings in a folder."""
# A header can claim anything: what is computed from it, such as the filter between two rates, has its size.
LEAST_RATE, MOST_RATE = 1000, 768_000
MOST_CHANNELS = 64
MOST_SECONDS = 3600
MOST_SECONDS_OF_BACKGROUND = 24 * MOST_SECONDS
MOST_FACTOR = 1 << 16
FILE_BYTES = 1 << 30
# Their samples are whole numbers and their length is that of the file: they can be read if their header can.
_PLAIN_FORMATS = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"}
_FLOATS = {"FLOAT", "DOUBLE"}
# What libsndfile says of a FLAC stream that was written without knowing where it would end, in which it cannot seek.
_UNTOLD = 2**63 - 1
# Full scale is 1; above this, samples were saved as floats and never divided by 32768.
MOST_AMPLITUDE = 32.0


@dataclass(frozen=True)
class EmbeddedFile:
    """An audio file inside a Hugging Face dataset, read when it is needed."""

    table: Any
    row: int
    name: str

    def __str__(self) -> str:
        return self.name

    def open(self) -> io.BytesIO:
        """Return the file's bytes as a file."""
        audio: Mapping[str, Any] | None = self.table[self.row]["audio"]
        if audio is None or (audio["bytes"] is None and not audio["path"]):
            raise UnreadableAudio(f"{self}: holds no audio")
        content = audio["bytes"]
        if content == b"":
            raise UnreadableAudio(f"{self}: empty file")
        return io.BytesIO(content if content is not None else read_regular(audio["path"], FILE_BYTES))


AudioFile = Path | EmbeddedFile


class UnreadableAudio(InputError):  # noqa: N818
    """An audio file that cannot be used; the message names it."""


@dataclass(frozen=True)
class Header:
    """What a file says about itself: frames, and frames per second."""

    frames: int
    rate: int

    @property
    def seconds(self) -> int:
        """Whole seconds."""
        return self.frames // self.rate


def read_header(file: AudioFile, strict: bool = False) -> Header:
    """Look at a clip, decoding no more of it than must be to know that it can be read.

    Parameters
    ----------
    file : Path or EmbeddedFile
        The file.
    strict : bool
        Refuse every sampling rate but 16 kHz.

    Raises
    ------
    UnreadableAudio
        Not audio, empty, the wrong rate, too long for a clip, or samples that are no numbers.
    """
    with _opened(file) as sound:
        header = _checked_header(sound, file, strict)
        _check_length(sound, file)
        if sound.format not in _PLAIN_FORMATS or sound.subtype in _FLOATS:
            _read(sound, file, _frames_of_a_clip(sound.samplerate))
    return header


def read_background(file: AudioFile, strict: bool = False) -> Header:
    """Look at a long recording, and at all of it where its samples may be no numbers; as `read_header`."""
    with _opened(file) as sound:
        header = _checked_header(sound, file, strict)
        if header.seconds > MOST_SECONDS_OF_BACKGROUND:
            raise UnreadableAudio(
                f"{file}: claims to last {header.seconds} seconds; cut it, or write it anew"
            )
        if sound.subtype in _FLOATS:
            for _ in range(0, header.frames, header.rate):
                _read(sound, file, header.rate)
    return header


def read_clip(file: AudioFile, second: int | None = None) -> npt.NDArray[np.int16]:
    """Decode one clip: channels averaged, resampled to 16 kHz, padded with zeros or cropped to one second.

    No more is decoded than is heard, however long the file is.

    Parameters
    ----------
    file : Path or EmbeddedFile
        The file.
    second : int, optional
        Take this second of a long recording.

    Returns
    -------
    numpy.ndarray of int16, shape [16000]

    Raises
    ------
    UnreadableAudio
        As `read_header`.
    """
    with _opened(file) as sound:
        rate = sound.samplerate
        if second is None:
            _checked_header(sound, file)
            _check_length(sound, file)
            wave = _read(sound, file, _frames_of_a_clip(rate))
        else:
            sound.seek(second * rate)
            wave = _read(sound, file, rate)
    if rate != SAMPLING_RATE:
        wave = resample(wave, rate)
    clip = np.zeros(CLIP_LENGTH, np.int16)
    clip[: len(wave)] = np.clip(np.rint(wave[:CLIP_LENGTH] * 32768), -32768, 32767)
    return clip


def _frames_of_a_clip(rate: int) -> int:
    """Return how many frames the first second at 16 kHz is made of: a second, and what the filter reaches beyond."""
    if rate == SAMPLING_RATE:
        return CLIP_LENGTH
    return rate + 12 * max(1, -(-rate // SAMPLING_RATE)) + 2


def _read(sound: Any, file: AudioFile, frames: int) -> npt.NDArray[np.float32]:
    wave: npt.NDArray[np.float32] = sound.read(frames, dtype="float32", always_2d=True).mean(
        axis=1, dtype=np.float32
    )
    loudest = float(np.abs(wave).max(initial=0.0))
    if not np.isfinite(loudest):
        raise UnreadableAudio(f"{file}: holds samples that are no numbers (NaN or infinity)")
    if loudest > MOST_AMPLITUDE:
        raise UnreadableAudio(
            f"{file}: holds samples of {loudest:.0f}, where full scale is 1; divide them by it"
        )
    return wave


def _checked_header(sound: Any, file: AudioFile, strict: bool = False) -> Header:
    header = Header(sound.frames, sound.samplerate)
    if header.frames <= 0:
        raise UnreadableAudio(f"{file}: holds no audio")
    if header.frames == _UNTOLD:
        raise UnreadableAudio(f"{file}: its header does not say how long it is; write the file anew")
    if strict and header.rate != SAMPLING_RATE:
        raise UnreadableAudio(
            f"{file}: sampling rate {header.rate}, not {SAMPLING_RATE} (sampling_rate: strict)"
        )
    return header


def _check_length(sound: Any, file: AudioFile) -> None:
    if sound.frames > MOST_SECONDS * sound.samplerate:
        raise UnreadableAudio(f"{file}: claims {sound.frames} frames, which is no clip of a word; cut it")


def resample(wave: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """Bring a wave from `rate` to 16 kHz by a polyphase filter."""
    if rate // gcd(rate, SAMPLING_RATE) > MOST_FACTOR:
        # The filter is as long as the rates are apart from a common factor: a rate that no device has is rounded by 0.1 %.
        rate = round(rate, -2)
    common = gcd(rate, SAMPLING_RATE)
    resampled: npt.NDArray[np.float32] = resample_poly(wave, SAMPLING_RATE // common, rate // common)
    return resampled


def as_float(clip: npt.NDArray[np.int16], gain: float = 1.0) -> npt.NDArray[np.float32]:
    """Turn 16-bit samples into float32 in [-1, 1]."""
    wave: npt.NDArray[np.float32] = clip.astype(np.float32) * np.float32(gain / 32768)
    return wave


@contextmanager
def _opened(file: AudioFile) -> Iterator[Any]:
    try:
        if isinstance(file, Path):
            with open_regular(file) as opened:
                if not opened.read(1):
                    raise UnreadableAudio(f"{file}: empty file")
        with soundfile.SoundFile(file if isinstance(file, Path) else file.open()) as sound:
            if not LEAST_RATE <= sound.samplerate <= MOST_RATE or sound.channels > MOST_CHANNELS:
                raise UnreadableAudio(
                    f"{file}: claims {sound.channels} channels of {sound.samplerate} Hz, which no recording has"
                )
            yield sound
    except UnreadableAudio:
        raise
    except InputError as error:
        raise UnreadableAudio(str(error)) from error
    except (soundfile.LibsndfileError, OSError) as error:
        raise UnreadableAudio(f"{file}: cannot be read as audio ({error})") from error
