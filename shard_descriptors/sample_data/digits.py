"""Drawn digits: a folder for each, with small grey pictures of a pen's stroke that is never the same."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

SIZE = 28
COUNT = 30
_FINER = 4  # drawn so much larger and scaled down, which smooths the edges
# A stroke for each digit, in a square whose sides are 1, its corner at the top left.
_STROKES = {
    "0": [(0.5, 0.1), (0.78, 0.28), (0.78, 0.72), (0.5, 0.9), (0.22, 0.72), (0.22, 0.28), (0.5, 0.1)],
    "1": [(0.34, 0.26), (0.55, 0.1), (0.55, 0.9)],
    "2": [(0.2, 0.3), (0.35, 0.12), (0.65, 0.12), (0.78, 0.32), (0.2, 0.9), (0.82, 0.9)],
    "3": [(0.22, 0.12), (0.76, 0.14), (0.46, 0.44), (0.76, 0.62), (0.66, 0.86), (0.22, 0.88)],
    "4": [(0.64, 0.9), (0.64, 0.1), (0.2, 0.64), (0.84, 0.64)],
    "5": [(0.76, 0.1), (0.3, 0.1), (0.26, 0.44), (0.62, 0.44), (0.78, 0.64), (0.62, 0.88), (0.22, 0.86)],
    "6": [(0.7, 0.1), (0.36, 0.4), (0.22, 0.7), (0.46, 0.9), (0.76, 0.74), (0.52, 0.54), (0.24, 0.66)],
    "7": [(0.2, 0.1), (0.8, 0.1), (0.42, 0.9)],
    "8": [
        *((0.5, 0.48), (0.25, 0.3), (0.5, 0.1), (0.75, 0.3), (0.5, 0.48)),
        *((0.22, 0.7), (0.5, 0.9), (0.78, 0.7), (0.5, 0.48)),
    ],
    "9": [(0.76, 0.34), (0.5, 0.5), (0.26, 0.32), (0.5, 0.1), (0.76, 0.34), (0.64, 0.9)],
}


def write_digits(folder: Path) -> str:
    """Write ``<digit>/<number>.png``, and every fourth as a JPEG; return what was made."""
    from PIL import Image, ImageDraw

    for digit, stroke in _STROKES.items():
        (folder / digit).mkdir(parents=True)
        for number in range(COUNT):
            drawn = Random(f"{digit} {number}")
            picture = Image.new("L", (SIZE * _FINER, SIZE * _FINER))
            ImageDraw.Draw(picture).line(
                [(x * SIZE * _FINER, y * SIZE * _FINER) for x, y in _moved(stroke, drawn)],
                fill=drawn.randint(170, 255),
                width=drawn.randint(2 * _FINER, 3 * _FINER),
                joint="curve",
            )
            small = picture.resize((SIZE, SIZE), Image.Resampling.BOX)
            small.save(folder / digit / f"{number:03d}.{'jpg' if number % 4 == 3 else 'png'}")
    return f"{len(_STROKES) * COUNT} pictures of drawn digits"


def _moved(stroke: list[tuple[float, float]], drawn: Random) -> list[tuple[float, float]]:
    """Turn, slant, scale and shift a stroke a little, and let the hand that draws it shake."""
    angle, slant = math.radians(drawn.uniform(-12, 12)), drawn.uniform(-0.2, 0.2)
    width, height = drawn.uniform(0.7, 1.0), drawn.uniform(0.8, 1.0)
    right, down = drawn.uniform(-0.08, 0.08), drawn.uniform(-0.06, 0.06)
    moved = []
    for x, y in stroke:
        x, y = x + drawn.uniform(-0.03, 0.03) - 0.5, y + drawn.uniform(-0.03, 0.03) - 0.5
        x, y = width * (x - slant * y), height * y
        x, y = math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y
        moved.append((x + 0.5 + right, y + 0.5 + down))
    return moved
