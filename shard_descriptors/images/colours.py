"""A picture of any mode and depth as what people see of it, in RGB of eight bits; or refused, where that cannot be told.

What is transparent shows a white ground, as on paper and in a browser: the colour that a file keeps below it, nobody sees.
Sixteen bits are brought to eight by their high byte, as Pillow does it for colours; it would cut greys off at 255 of 65,535.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

GROUND = (255, 255, 255)
_OPAQUE = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_TRANSPARENT = {"LA": "RGBA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}
_SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_FAINT = 1 << 12
# PNG gives the transparent grey or colour as the file has it; Pillow spreads fewer than eight bits over all of them.
_SPREAD = {"1": 255, "L;2": 85, "L;4": 17}


class Unseen(Exception):  # noqa: N818
    """A picture that would show nothing, or something else than it does; says why and what to do."""


def spread_transparency(image: Image.Image) -> None:
    """Bring the grey or colour that a PNG calls transparent to the scale of the image's pixels, before these are loaded."""
    value, tile = image.info.get("transparency"), image.tile
    form = str(tile[0][3]) if tile else ""
    if isinstance(value, int) and form in _SPREAD:
        image.info["transparency"] = value * _SPREAD[form]
    elif isinstance(value, tuple) and form == "RGB;16B":
        image.info["transparency"] = tuple(one >> 8 for one in value)


def in_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as it is seen on a white ground, in mode RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any mode, loaded; a transparent grey or colour in its ``info`` is in the scale of its pixels.

    Raises
    ------
    Unseen
        If its mode does not tell colours, it is transparent all over, its content has the colour of the ground, or it uses so
        few of sixteen bits that eight show next to nothing.
    """
    if image.mode in _SIXTEEN_BITS:
        values = np.asarray(image)
        return _on_ground(_eight_bits(values), _alpha_of(image, values))
    if image.mode in _TRANSPARENT:
        while image.mode in _TRANSPARENT and image.mode != "RGBA":
            image = image.convert(_TRANSPARENT[image.mode])
        return _on_ground(image, image.getchannel("A"))
    if image.mode not in _OPAQUE:
        raise Unseen(f"its mode {image.mode} does not tell colours; save it in RGB or in grey")
    if "transparency" not in image.info:
        return image.convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")
        return _on_ground(image, image.getchannel("A"))
    return _on_ground(image, _alpha_of(image, np.asarray(image.convert("L") if image.mode == "1" else image)))


def _eight_bits(values: npt.NDArray[Any]) -> Image.Image:
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 0xFFFF:
        raise Unseen(f"its values go from {least} to {most}, beyond sixteen bits; scale them to 0 to 65535")
    if 0 < most < _FAINT:
        raise Unseen(f"the greatest of its 16-bit values is {most} of 65535, all but black; scale them up")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _alpha_of(image: Image.Image, values: npt.NDArray[Any]) -> Image.Image | None:
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int | tuple):
        return None
    same = values == np.asarray(transparent)
    hidden = same.all(-1) if same.ndim == 3 else same
    return Image.fromarray(np.where(hidden, np.uint8(0), np.uint8(255)))


def _on_ground(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    least, most = (255, 255) if alpha is None else _extremes(alpha)
    if least == 255:
        return image.convert("RGB")
    if most == 0:
        raise Unseen("is transparent all over; save it with what is to be seen")
    seen = Image.new("RGB", image.size, GROUND)
    seen.paste(image.convert("RGB"), mask=alpha)
    if least < most and all(low == high for low, high in map(_extremes, seen.split())):
        raise Unseen(
            "shows nothing on a white ground but the ground; save it on another one, without transparency"
        )
    return seen


def _extremes(band: Image.Image) -> tuple[int, int]:
    low, high = band.getextrema()
    return int(low), int(high)  # type: ignore[arg-type]  # of one band
