"""Ask a fresh espeak-ng process to speak, and take its waves as they come."""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from federation.errors import InputError
from shard_descriptors.speech.audio import as_float, resample

ESPEAK_RATE = 22_050


@dataclass(frozen=True)
class Utterance:
    """What to say and how.

    Attributes
    ----------
    text : str
        In English.
    voice, variant : str
        An accent such as ``en-us``, and a speaker such as ``f3``.
    pitch : int
        0 to 100.
    rate : int
        Words per minute, 80 to 450.
    seed : int
        Of espeak-ng's own noise.
    """

    text: str
    voice: str
    variant: str
    pitch: int
    rate: int
    seed: int


def espeak_version() -> str:
    """Return the version of the espeak-ng package, without loading it.

    Raises
    ------
    InputError
        It is not installed.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError("espeak-ng is not installed; pip install 'speech-federation[demo]'")
    return version("espeakng-loader")


def speak(utterances: Sequence[Utterance]) -> Iterator[npt.NDArray[np.float32]]:
    """Speak utterances in their order.

    Parameters
    ----------
    utterances : sequence of Utterance
        The same sequence gives the same waves, sample for sample.

    Yields
    ------
    numpy.ndarray of float32
        At 16 kHz, in [-1, 1].

    Raises
    ------
    InputError
        espeak-ng does not start, or lacks a voice.
    """
    with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile() as complaints:
        json.dump([asdict(utterance) for utterance in utterances], asked)
        asked.seek(0)
        command = [sys.executable, "-m", "shard_descriptors.synthesis.espeak_process"]
        process = subprocess.Popen(command, stdin=asked, stdout=subprocess.PIPE, stderr=complaints)
        assert process.stdout is not None
        try:
            for utterance in utterances:
                head = process.stdout.read(4)
                if len(head) < 4:
                    process.wait()
                    complaints.seek(0)
                    reason = complaints.read().decode(errors="replace").strip().splitlines()[-1:]
                    raise InputError(
                        f"espeak-ng cannot say {utterance.text!r}: {''.join(reason) or 'it stopped'}"
                    )
                samples = process.stdout.read(2 * struct.unpack("<I", head)[0])
                yield resample(as_float(np.frombuffer(samples, np.int16)), ESPEAK_RATE)
        finally:
            process.stdout.close()
            process.kill()
            process.wait()
