"""Image files to arrays: upright, three channels, square. Shards and predictions read them here."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from federation.errors import InputError
from federation.files import open_regular, read_regular
from shard_descriptors.images.colours import Unseen, in_rgb, spread_transparency

SUFFIXES = (".jpg", ".jpeg", ".png")
# Others of Pillow's decoders are not given a file from outside.
FORMATS = ("JPEG", "PNG")
# Decoded, an image takes up to four bytes a pixel, and for a moment several times that; a file of 20 kB can claim any number.
MOST_PIXELS = 50_000_000
FILE_BYTES = 1 << 30

# What Pillow raises for files that are damaged, no images, or too large to be unpacked in good faith.
_DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class EmbeddedImage:
    """An image file inside a Hugging Face dataset, read when it is needed."""

    table: Any
    row: int
    column: str
    name: str

    def __str__(self) -> str:
        return self.name

    def open(self) -> io.BytesIO:
        """Return the file's bytes as a file."""
        image: Mapping[str, Any] | None = self.table[self.row][self.column]
        content, path = (image["bytes"], image["path"]) if image else (None, None)
        if content is not None:
            return io.BytesIO(content)
        if path is None:
            raise OSError("holds no image")
        return io.BytesIO(read_regular(path, FILE_BYTES))


ImageFile = Path | EmbeddedImage


class UnreadableImage(InputError):  # noqa: N818
    """An image file that cannot be used; the message names it."""


def open_image(file: ImageFile) -> Image.Image:
    """Decode an image: upright as its EXIF orientation says, in RGB, on a white ground where it is transparent.

    Raises
    ------
    UnreadableImage
        If there is no such file, it is no JPEG or PNG, it is damaged or cut short, has more than 50 million pixels, or would
        not show in eight bits what it is (`shard_descriptors.images.colours.in_rgb`).
    """
    with _opened(file) as image:
        spread_transparency(image)
        ImageOps.exif_transpose(image, in_place=True)
        return in_rgb(image)


def check_header(file: ImageFile) -> None:
    """Look at an image's header; raises as `open_image`, but finds no damage beyond it."""
    with _opened(file):
        pass


def read_image(file: ImageFile, size: int) -> npt.NDArray[np.uint8]:
    """Decode an image, cut the largest square from its middle and scale that.

    Returns
    -------
    numpy.ndarray of uint8, shape [size, size, 3]
        In RGB. Deterministic: Pillow's bilinear filter, antialiased.
    """
    image = open_image(file)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cut before scaling: an image of one by a million pixels would be large only after it.
    box = (left, top, left + side, top + side)
    return np.array(image.resize((size, size), Image.Resampling.BILINEAR, box=box), np.uint8)


@contextmanager
def _opened(file: ImageFile) -> Iterator[Image.Image]:
    try:
        with (
            warnings.catch_warnings(),
            file.open() if isinstance(file, EmbeddedImage) else open_regular(file) as stream,
        ):
            # Pillow's are of sizes that are refused here anyway, and of what stands beside the pixels.
            warnings.simplefilter("ignore")
            if not stream.read(1):
                raise UnreadableImage(f"{file}: empty file")
            stream.seek(0)
            with Image.open(stream, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    size = f"{image.width} by {image.height} pixels"
                    raise UnreadableImage(f"{file}: {size} are more than {MOST_PIXELS:,}; scale it down")
                yield image
    except UnreadableImage:
        raise
    except Unseen as error:
        raise UnreadableImage(f"{file}: {error}") from error
    except InputError as error:
        raise UnreadableImage(str(error)) from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImage(f"{file}: no JPEG or PNG image") from error
    except FileNotFoundError as error:
        raise UnreadableImage(f"{file}: no such file") from error
    except _DAMAGED as error:
        raise UnreadableImage(
            f"{file}: cannot be read as an image ({' '.join(str(error).split())})"
        ) from error
