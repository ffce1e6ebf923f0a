"""Pseudo speakers: an accent, a variant, and a pitch and speed of their own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import product

import numpy as np

# The accents that load in espeakng-loader's data; `en-gb` does not, `en` is the same.
ACCENTS = (
    "en",
    "en-us",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
# The variants that sound like people; robots and whispers are left out.
# fmt: off
VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Alex", "Alicia",
    "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco",
    "Michael", "Mike", "Nguyen", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris",
    "caleb", "david", "edward", "grandma", "grandpa", "gustave", "ian", "iven", "john", "linda", "marcelo",
    "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro",
    "shelby", "steph", "travis", "victor", "zac",
)
# fmt: on


@dataclass(frozen=True)
class Speaker:
    """One pseudo speaker; `hash` is the eight hex digits that stand in the file names."""

    hash: str
    accent: str
    variant: str
    pitch: int
    rate: int


def draw_speakers(count: int, seed: int) -> list[Speaker]:
    """Draw speakers; accent and variant repeat only when every pair has been used.

    Parameters
    ----------
    count : int
        How many.
    seed : int
        The first n speakers of a seed are the same however many are drawn.
    """
    pairs = list(product(ACCENTS, VARIANTS))
    shuffled = np.random.default_rng(seed).permutation(len(pairs))
    speakers = []
    for index in range(count):
        accent, variant = pairs[shuffled[index % len(pairs)]]
        generator = np.random.default_rng([seed, index])
        pitch, rate = int(generator.integers(25, 76)), int(generator.integers(130, 211))
        told = f"{seed}:{index}:{accent}+{variant}:{pitch}:{rate}"
        speakers.append(Speaker(hashlib.sha256(told.encode()).hexdigest()[:8], accent, variant, pitch, rate))
    return speakers
