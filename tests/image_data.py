"""Images for tests: real files, a bright shape of one colour on dark noise for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from workspace.experiments.image_classification.settings import ImageClassificationSettings, ResNetOverrides
from workspace.learning.recipe import Recipe, build_recipe

CLASSES = ("blue", "green", "red")
SHARD = "shard_descriptors.images.image_folder.ImageFolderShard"
COLOURS = {"red": 0, "green": 1, "blue": 2}

SMALL = ImageClassificationSettings(
    learning_rate=1e-2,
    schedule="one_cycle",
    batch_size=8,
    image_size=16,
    model=ResNetOverrides(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"),
)


def picture(word: str, generator: np.random.Generator, size: int = 16) -> npt.NDArray[np.uint8]:
    """Draw a square of the class's colour somewhere on dark noise."""
    pixels = generator.integers(0, 80, (size, size, 3))
    y, x = generator.integers(0, size // 2, 2)
    pixels[y : y + size // 2, x : x + size // 2, COLOURS[word]] += 150
    return pixels.astype(np.uint8)


class Pictures(list[dict[str, Any]]):
    """A split of such images."""

    def __init__(self, count: int, seed: int = 0, size: int = 16) -> None:
        generator = np.random.default_rng(seed)
        for i in range(count):
            label = i % len(CLASSES)
            image = picture(CLASSES[label], generator, size)
            self.append({"image": image, "label": label, "id": f"{i}.png"})

    @property
    def groups(self) -> list[str]:
        return [sample["id"] for sample in self]


def small_recipe(classes: Sequence[str] = CLASSES, **changes: Any) -> Recipe:
    """Build the recipe of the small model, with some settings changed."""
    from dataclasses import replace

    return build_recipe("image_classification", replace(SMALL, **changes), tuple(classes), {})


def make_image_folder(root: Path, count: int = 20, size: int = 20, seed: int = 0) -> Path:
    """Write a folder per class: PNG files, wider than high, and every fourth a JPEG."""
    generator = np.random.default_rng(seed)
    for word in CLASSES:
        (root / word).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(picture(word, generator, size)).resize((size + 4, size))
            image.save(root / word / f"{number % 5}_{number:03d}.{'jpg' if number % 4 == 3 else 'png'}")
    return root


def shard_entry(root: Path, rank: int, worldsize: int, **settings: Any) -> dict[str, Any]:
    """A shard descriptor over a folder, as configs and federation files have it."""
    base = {
        "dataset": "colours",
        "root": str(root),
        "image_size": 16,
        "rank": rank,
        "worldsize": worldsize,
        "seed": 1,
    }
    return {"template": SHARD, "settings": base | settings}
