"""Speaks with espeak-ng, in a process of its own: ``python -m shard_descriptors.synthesis.espeak_process``.

espeak-ng is GPL-3, not thread-safe, and remembers what it said before; so nothing else imports this module.
It reads a JSON list of utterances from stdin, and writes for each the number of samples (uint32) and the
samples (int16, 22,050 Hz) to stdout, in order.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from pathlib import Path
from typing import Any

import espeakng_loader

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: the callback gets the samples, in the calling thread
BY_CHARACTER = 1  # espeak_POSITION_TYPE
UTF8 = 1
RATE, PITCH = 1, 3  # espeak_PARAMETER
SAMPLING_RATE = 22_050

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library, through its C interface."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        if self._library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), 0) != SAMPLING_RATE:
            raise SystemExit(f"espeak-ng does not start with its data in {data}")
        variants = Path(data) / "voices" / "!v"
        self._variants = {file.name for file in variants.iterdir()}
        self._spoken = bytearray()
        self._callback = Callback(self._receive)  # kept here: C holds only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._spoken += ctypes.string_at(samples, 2 * count)
        return 0

    def speak(self, text: str, voice: str, variant: str, pitch: int, rate: int, seed: int) -> bytes:
        """Return the samples of `text`; `pitch` is 0 to 100, `rate` words per minute."""
        if variant not in self._variants:  # espeak-ng would go on without it
            raise SystemExit(f"espeak-ng has no voice variant {variant!r}")
        if self._library.espeak_SetVoiceByName(f"{voice}+{variant}".encode()) != 0:
            raise SystemExit(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._library.espeak_SetParameter(RATE, rate, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._spoken.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, BY_CHARACTER, 0, UTF8, None, None)
        return bytes(self._spoken)


def main() -> None:
    """Speak what stdin asks for."""
    utterances = json.load(sys.stdin)
    espeak = Espeak()
    for utterance in utterances:
        spoken = espeak.speak(**utterance)
        sys.stdout.buffer.write(struct.pack("<I", len(spoken) // 2) + spoken)


if __name__ == "__main__":
    main()
