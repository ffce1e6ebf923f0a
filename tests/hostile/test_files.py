"""Files that lie: images, clips and plans of others end in one clear line, and cost a bounded memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from federation import document
from federation.errors import InputError
from federation.files import read_regular
from federation.plan import load_plan
from shard_descriptors.images.pixels import UnreadableImage, check_header, open_image
from shard_descriptors.speech.audio import UnreadableAudio, read_clip, read_header
from tests.plan_files import PLAN

SECONDS = 60
MEMORY = 3 << 30


def test_a_pipe_or_a_device_is_no_plan_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.yaml")
    for path in (tmp_path / "plan.yaml", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(InputError, match="is a pipe or a device, not a file"):
            load_plan(path)
    with pytest.raises(InputError, match="Is a directory"):
        load_plan(tmp_path)


def test_a_pipe_is_no_vocabulary_of_a_plan(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "words.txt")
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        PLAN.replace("learning_rate: 1e-3", "vocabulary_file: words.txt").replace(
            "keyword_spotting", "sentiment"
        )
    )
    with pytest.raises(InputError, match=r"words\.txt: is a pipe or a device"):
        load_plan(plan)


def test_no_more_of_a_file_is_read_than_it_may_hold(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1025))
    assert len(read_regular(tmp_path / "file", 1025)) == 1025
    with pytest.raises(InputError, match="is larger than 1 KiB"):
        read_regular(tmp_path / "file", 1024)


LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "a: " + "[" * 100_000,
        "a: " + "{b: " * 50_000,
        "a: " + "9" * 5000,
        "? " * 100_000,
        "a: &a [*a]",
        "a: !!python/object/apply:os.system [ls]",
    ],
    ids=["laughs", "lists", "mappings", "digits", "keys", "circle", "tag"],
)
def test_a_plan_that_is_made_to_burst_is_said_to_be_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    assert document.read(tmp_path / "plan.yaml").problems


def test_a_plan_longer_than_any_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("a: " + "x" * (2 << 20))
    with pytest.raises(InputError, match=r"plan\.yaml: is larger than 1 MiB$"):
        document.read(tmp_path / "plan.yaml")


def png(file: Path, width: int, height: int) -> Path:
    """Write a black image of one bit a pixel, which is packed well."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return file


@pytest.mark.parametrize("size", [(13_000, 13_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (1, 2**27)])
def test_an_image_of_a_gib_in_a_few_kib_is_not_unpacked(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    file = png(tmp_path / "bomb.png", width, height if height <= 20_000 and width <= 20_000 else 1)
    if height > 20_000:
        content = bytearray(file.read_bytes())
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        file.write_bytes(content)
    assert file.stat().st_size < 64_000 or width == 2**31 - 1
    for read in (check_header, open_image):
        with pytest.raises(UnreadableImage, match=r"bomb\.png: ") as caught:
            read(file)
        assert len(str(caught.value).splitlines()) == 1


def test_an_image_of_a_good_camera_is_read(tmp_path: Path) -> None:
    assert open_image(png(tmp_path / "large.png", 8000, 6000)).size == (8000, 6000)


def test_a_pipe_is_no_image_and_no_clip(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(UnreadableImage, match="pipe"):
        open_image(tmp_path / "a.png")
    with pytest.raises(UnreadableAudio, match="pipe"):
        read_clip(tmp_path / "a.wav")


def wav(file: Path, rate: int, channels: int = 1, frames: int = 16_000, claimed: int | None = None) -> Path:
    """Write a clip of 16 bits, whose header may claim other lengths than it has."""
    data = frames * channels * 2
    said = data if claimed is None else claimed
    head = b"RIFF" + struct.pack("<I", min(36 + said, 2**32 - 1)) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, channels, rate, (rate * channels * 2) % 2**32, channels * 2, 16)
    file.write_bytes(head + b"data" + struct.pack("<I", said) + bytes(data))
    return file


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_a_clip_whose_rate_would_take_320_gib_to_resample_is_not_read(tmp_path: Path, rate: int) -> None:
    file = wav(tmp_path / "bomb.wav", rate)
    for read in (read_header, read_clip, lambda one: read_clip(one, 0)):
        with pytest.raises(
            UnreadableAudio, match=r"bomb.wav: (claims 1 channels of|cannot be read as audio)"
        ):
            read(file)


def test_a_clip_of_hours_or_of_more_channels_than_anybody_records_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAudio, match="is no clip of a word"):
        read_clip(wav(tmp_path / "long.wav", 8000, frames=8000 * 3601))
    with pytest.raises(UnreadableAudio, match="claims 1000 channels"):
        read_clip(wav(tmp_path / "wide.wav", 16_000, channels=1000, frames=10))


def test_a_clip_that_claims_more_than_it_holds_is_read_as_far_as_it_goes_or_refused(tmp_path: Path) -> None:
    file = wav(tmp_path / "short.wav", 16_000, claimed=2**32 - 1)
    assert read_clip(file).shape == (16_000,)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
from pathlib import Path
from federation.errors import InputError
{load}
try:
    read(Path(sys.argv[1]))
except InputError as error:
    print(error)
"""
READERS = {
    "plan": "from federation.plan import load_plan as read",
    "image": "from shard_descriptors.images.pixels import open_image as read",
    "clip": "from shard_descriptors.speech.audio import read_clip as read",
}


@pytest.mark.parametrize("kind", READERS)
def test_the_memory_that_a_lie_costs_is_bounded(tmp_path: Path, kind: str) -> None:
    """In a process that may have little more than what it needs to start."""
    file = tmp_path / "lie"
    if kind == "plan":
        file.write_text(LAUGHS)
    elif kind == "image":
        png(file, 13_000, 13_000)
    else:
        wav(file, 2**31 - 1)
    program = LIMITED.format(memory=MEMORY, load=READERS[kind])
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
        env=environment,
    )
    assert str(file) in done.stdout
    assert "MemoryError" not in done.stdout + done.stderr
