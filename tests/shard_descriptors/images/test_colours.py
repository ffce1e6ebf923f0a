"""Pictures of every mode and depth: what a person sees of a file is what a shard and a prediction see, or it is refused."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from shard_descriptors.images.colours import Unseen, in_rgb
from shard_descriptors.images.pixels import UnreadableImage, check_header, open_image, read_image

SIDE = 8
RED, GREEN, WHITE, BLACK = (200, 0, 0), (0, 150, 0), (255, 255, 255), (0, 0, 0)
LEFT = np.repeat([[True] * 4 + [False] * 4], SIDE, 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "picture.png"


def halves(left: tuple[int, ...], right: tuple[int, ...]) -> Image.Image:
    """A picture whose left half has one colour and whose right half another."""
    return Image.fromarray(np.where(LEFT[..., None], np.uint8(left), np.uint8(right)))


def seen(file: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the colours of both halves, as shards have them; a prediction must see the same."""
    pixels = read_image(file, SIDE)
    np.testing.assert_array_equal(pixels, np.asarray(open_image(file)))
    for half in (pixels[:, :4], pixels[:, 4:]):
        assert (half == half[0, 0]).all()
    return tuple(pixels[0, 0].tolist()), tuple(pixels[0, -1].tolist())


def png(file: Path, depth: int, kind: int, rows: npt.NDArray[np.uint8], *chunks: tuple[bytes, bytes]) -> Path:
    """Write a PNG of bytes as the format lays them out, with chunks before the pixels."""

    def framed(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", SIDE, len(rows), depth, kind, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", packed), (b"IEND", b"")]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed(*part) for part in parts))
    return file


def test_a_drawing_in_transparency_alone_is_seen_on_white(file: Path) -> None:
    halves((*BLACK, 255), (*BLACK, 0)).save(file)
    assert seen(file) == (BLACK, WHITE)
    halves((*BLACK, 255), (*BLACK, 0)).convert("LA").save(file)
    assert seen(file) == (BLACK, WHITE)
    halves((*RED, 255), (0, 255, 0, 0)).save(file)
    assert seen(file) == (RED, WHITE)
    halves((*RED, 255), (0, 0, 0, 51)).save(file)
    assert seen(file) == (RED, (204, 204, 204))


@pytest.mark.parametrize("transparency", [1, b"\xff\0"])
def test_a_transparent_colour_of_a_palette_shows_the_ground(file: Path, transparency: int | bytes) -> None:
    image = Image.fromarray(np.where(LEFT, np.uint8(0), np.uint8(1)), "L")
    paletted = Image.new("P", image.size)
    paletted.putdata(list(image.tobytes()))
    paletted.putpalette([*RED, *GREEN])
    paletted.save(file, transparency=transparency)
    assert seen(file) == (RED, WHITE)
    paletted.save(file)
    assert seen(file) == (RED, GREEN)


@pytest.mark.parametrize(
    ("depth", "dark", "light"), [(1, 0, 1), (2, 1, 2), (4, 2, 9), (8, 20, 200), (16, 5000, 50_000)]
)
@pytest.mark.parametrize("hidden", [None, "dark", "light"])
def test_a_grey_of_any_depth_keeps_its_place_between_black_and_white(
    file: Path, depth: int, dark: int, light: int, hidden: str | None
) -> None:
    values = np.where(LEFT, dark, light)
    if depth == 16:
        rows = values.astype(">u2").view(np.uint8)
    else:
        bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(SIDE, -1).astype(np.uint8), 1)
    grey = {"dark": dark, "light": light}
    chunks = [(b"tRNS", struct.pack(">H", grey[hidden]))] if hidden else []
    if depth == 1 and hidden == "dark":
        with pytest.raises(UnreadableImage, match="shows nothing on a white ground"):
            open_image(png(file, depth, 0, rows, *chunks))
        return
    whole = {
        name: value >> 8 if depth == 16 else value * 255 // (2**depth - 1) for name, value in grey.items()
    }
    told = [WHITE if hidden == name else (value,) * 3 for name, value in whole.items()]
    assert seen(png(file, depth, 0, rows, *chunks)) == tuple(told)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_shows_the_ground(file: Path, depth: int) -> None:
    colours = np.where(LEFT[..., None], RED, GREEN)
    rows = (colours * (257 if depth == 16 else 1)).astype(">u2" if depth == 16 else np.uint8)
    hidden = struct.pack(">HHH", *(one * (257 if depth == 16 else 1) for one in RED))
    rows = rows.reshape(SIDE, -1).view(np.uint8)
    assert seen(png(file, depth, 2, rows)) == (RED, GREEN)
    assert seen(png(file, depth, 2, rows, (b"tRNS", hidden))) == (WHITE, GREEN)


@pytest.mark.parametrize("kind", [4, 6])
def test_sixteen_bits_with_transparency_are_seen(file: Path, kind: int) -> None:
    grey, channels = 30_000, {4: 2, 6: 4}[kind]
    pixels = np.full((SIDE, SIDE, channels), grey)
    pixels[..., -1] = np.where(LEFT, 65_535, 0)
    rows = pixels.astype(">u2").reshape(SIDE, -1).view(np.uint8)
    assert seen(png(file, 16, kind, rows)) == ((grey >> 8,) * 3, WHITE)


def test_values_that_use_so_few_of_sixteen_bits_that_they_would_be_black_are_refused(file: Path) -> None:
    Image.fromarray(np.where(LEFT, np.uint16(4095), np.uint16(100))).save(file)
    with pytest.raises(UnreadableImage, match="the greatest of its 16-bit values is 4095 of 65535"):
        open_image(file)
    check_header(file)
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(file)
    assert seen(file) == (BLACK, BLACK)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (halves((*RED, 0), (*GREEN, 0)), "is transparent all over"),
        (halves((*WHITE, 255), (*BLACK, 0)), "shows nothing on a white ground"),
    ],
    ids=["wholly transparent", "white on nothing"],
)
def test_a_picture_of_which_nothing_would_be_seen_is_refused(
    file: Path, image: Image.Image, why: str
) -> None:
    image.save(file)
    with pytest.raises(UnreadableImage, match=rf"picture\.png: {why}"):
        open_image(file)


def test_what_is_opaque_keeps_every_bit(file: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    for mode in ("RGB", "RGBA"):
        Image.fromarray(pixels).convert(mode).save(file)
        np.testing.assert_array_equal(np.asarray(open_image(file)), pixels)


KEPT = {
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "I",
    "I;16",
    "I;16L",
    "I;16B",
    "I;16N",
}


@pytest.mark.parametrize("mode", sorted({*Image.MODES, *KEPT}))
def test_every_mode_of_pillow_is_seen_or_refused(mode: str) -> None:
    grey = Image.fromarray(np.where(LEFT, np.uint8(0), np.uint8(255)))
    if mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        image = grey.convert("I").point(lambda value: value * 257)
        image = image if mode == "I" else Image.frombytes(mode, image.size, _sixteen(grey, mode))
    elif mode in ("LAB", "F"):
        image = Image.new(mode, grey.size)
    else:
        through = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA", "HSV": "RGB", "YCbCr": "RGB"}.get(mode, mode)
        image = grey.convert("RGB").convert(through)
        image = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    assert image.mode == mode
    if mode not in KEPT:
        with pytest.raises(Unseen, match=f"its mode {mode} does not tell colours; save it in RGB or in grey"):
            in_rgb(image)
        return
    assert in_rgb(image).mode == "RGB"
    np.testing.assert_array_equal(np.asarray(in_rgb(image)), np.asarray(grey.convert("RGB")))


def _sixteen(grey: Image.Image, mode: str) -> bytes:
    order = ">u2" if mode == "I;16B" else "<u2"
    return (np.asarray(grey).astype(np.uint16) * 257).astype(order).tobytes()


def test_numbers_beyond_sixteen_bits_and_those_that_are_none_are_no_colours() -> None:
    for least, most in ((-1, 0), (0, 65_536)):
        with pytest.raises(Unseen, match=f"its values go from {least} to {most}, beyond sixteen bits"):
            in_rgb(Image.fromarray(np.array([[least, most]], np.int32)))
    for value in (0.5, np.nan, np.inf):
        with pytest.raises(Unseen, match="its mode F does not tell colours"):
            in_rgb(Image.fromarray(np.full((2, 2), value, np.float32)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_seen_as_its_camera_was_held(tmp_path: Path, orientation: int) -> None:
    upright = halves(RED, GREEN)
    turns = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    for mode in ("RGB", "RGBA", "LA"):
        turned = upright.convert(mode)
        for turn in turns.get(orientation, []):
            turned = turned.transpose(turn)
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned.save(tmp_path / "turned.png", exif=exif)
        np.testing.assert_array_equal(
            np.asarray(open_image(tmp_path / "turned.png")), np.asarray(upright.convert(mode).convert("RGB"))
        )


def test_a_transparent_grey_shows_the_ground_of_a_turned_picture_too(file: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(np.where(LEFT, np.uint8(9), np.uint8(200)))
    grey.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif, transparency=9)
    assert seen(file) == (WHITE, (200,) * 3)


def test_nothing_that_pillow_remarks_reaches_the_terminal(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    content = io.BytesIO()
    halves(RED, GREEN).save(content, "JPEG", exif=exif)
    cut = content.getvalue().replace(b"\x01\x12\x00\x03\x00\x00\x00\x01", b"\x01\x12\x00\x03\x00\xff\xff\xff")
    assert cut != content.getvalue()
    (tmp_path / "exif.jpg").write_bytes(cut)
    many = np.zeros((SIDE, SIDE), np.uint8)
    png(tmp_path / "many.png", 8, 0, many)
    header = struct.pack(">IIBBBBB", 10_000, 9_000, 8, 0, 0, 0, 0)
    many_bytes = bytearray((tmp_path / "many.png").read_bytes())
    many_bytes[16:33] = header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "many.png").write_bytes(many_bytes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_image(tmp_path / "exif.jpg")
        for read in (check_header, open_image):
            with pytest.raises(
                UnreadableImage, match="10000 by 9000 pixels are more than 50,000,000; scale it"
            ):
                read(tmp_path / "many.png")


@pytest.mark.parametrize(("size", "is_read"), [((10_000, 5_000), True), ((3, 16_666_667), False)])
def test_fifty_megapixels_are_read_and_no_more(file: Path, size: tuple[int, int], is_read: bool) -> None:
    content = bytearray(png(file, 8, 0, np.zeros((SIDE, SIDE), np.uint8)).read_bytes())
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    content[16:33] = header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    file.write_bytes(content)
    if is_read:
        check_header(file)
    else:
        with pytest.raises(
            UnreadableImage, match="3 by 16666667 pixels are more than 50,000,000; scale it down"
        ):
            check_header(file)
