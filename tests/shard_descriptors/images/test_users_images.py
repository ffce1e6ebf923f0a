"""Image data as its owners have it: what is ignored is counted, what has two forms is one, rows with nulls are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from shard_descriptors.descriptor import SPLITS
from shard_descriptors.images.image_folder import ImageFolderShard
from tests.image_data import CLASSES, make_image_folder
from tests.refusals import refusal_of

WHOLE = {"image_size": 8, "validation_share": 0, "test_share": 0, "max_unreadable": 0.0}
CAFE, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def opened(root: Path, **settings: Any) -> ImageFolderShard:
    return ImageFolderShard(**{"root": root, **WHOLE, **settings})


def refusal(root: Path, **settings: Any) -> str:
    return refusal_of(lambda: opened(root, **settings))


def counts(shard: ImageFolderShard) -> dict[str, int]:
    return shard.class_counts("train")


def draw(file: Path, colour: tuple[int, ...] = (200, 0, 0)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        Image.new("RGB", (9, 9), colour).save(out, "JPEG" if "j" in file.suffix.lower() else "PNG")
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_image_folder(tmp_path / "data", count=4)


def test_endings_in_capitals_are_endings(root: Path) -> None:
    for number, suffix in enumerate((".JPG", ".Jpeg", ".PNG", ".jpeg")):
        draw(root / "red" / f"own{number}{suffix}")
    shard = opened(root)
    assert counts(shard) == {"blue": 4, "green": 4, "red": 8}
    assert not shard.left_out


def test_what_is_no_image_of_a_class_is_counted_and_told(root: Path) -> None:
    beside = root / "red"
    (beside / "notes.txt").write_text("red ones")
    draw(beside / "more" / "deep.png")
    for name in (".DS_Store", "._0_000.png"):
        (beside / name).write_bytes(b"\0\5\x16\7")
    for name in ("a.webp", "b.webp", "c.bmp"):
        (beside / name).write_bytes(b"RIFF")
    draw(root / "alone.png")
    draw(root / "__MACOSX" / "red" / "._0_000.png")
    draw(root / ".git" / "x.png")
    shard = opened(root, classes=["red", "green"])
    assert counts(shard) == {"red": 4, "green": 4}
    assert shard.left_out == {
        "images of other classes": 4,
        "files ending in .txt": 1,
        "files ending in .webp": 2,
        "files ending in .bmp": 1,
        "folders inside those of the classes": 1,
        "hidden files": 2,
        "files beside the folders": 1,
        "folders that are no class": 2,
    }
    assert shard.remarks()[0].startswith("left out: images of other classes (4), ")


def test_a_folder_of_other_files_says_which(tmp_path: Path) -> None:
    for name in ("a.webp", "b.webp"):
        (tmp_path / "red").mkdir(exist_ok=True)
        (tmp_path / "red" / name).write_bytes(b"RIFF")
    said = refusal(tmp_path)
    assert "hold no file ending in .jpeg, .jpg, .png, but files ending in .webp (2); convert these" in said


def test_a_picture_and_another_that_may_be_made_from_it_are_told(root: Path) -> None:
    draw(root / "red" / "twin.png")
    draw(root / "red" / "twin.JPG")
    said = refusal(root)
    assert said.startswith(f"{root}/red: twin.JPG and twin.png differ in their endings alone")
    assert said.endswith("; remove or rename one")


def test_a_link_to_an_image_is_one_and_one_that_leads_nowhere_is_unreadable(
    root: Path, tmp_path: Path
) -> None:
    elsewhere = draw(tmp_path / "elsewhere.png")
    (root / "red" / "linked.png").symlink_to(elsewhere)
    (tmp_path / "class").symlink_to(root / "red")
    assert counts(opened(root))["red"] == 5
    elsewhere.unlink()
    assert "1 of 13 files cannot be used" in (said := refusal(root))
    assert said.endswith(f"{root}/red/linked.png: no such file")
    shard = opened(root, max_unreadable=0.1)
    assert shard.left_out == {"images that cannot be used": 1}


def test_folders_of_splits_are_known_in_capitals_and_others_are_told(root: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for name in ("Train", "VALID", "Test", "backup"):
        shutil.copytree(root, parts / name)
    shard = opened(parts, split="published")
    assert [len(shard.split(name)) for name in SPLITS] == [12, 12, 12]
    assert shard.left_out == {"folders that are no split": 1}
    assert shard.split("train").ids[0].startswith("Train/blue/")


def test_a_name_is_one_in_both_forms_of_unicode(tmp_path: Path) -> None:
    composed, decomposed = tmp_path / "linux", tmp_path / "macos"
    for number in range(3):
        draw(composed / CAFE / f"été{number}.png")
        draw(decomposed / DECOMPOSED / (unicodedata.normalize("NFD", f"été{number}") + ".png"))
    here, there = opened(composed, classes=[DECOMPOSED]), opened(decomposed, classes=[CAFE])
    assert here.classes == there.classes == (CAFE,)
    assert (
        here.split("train").ids
        == there.split("train").ids
        == [f"{CAFE}/été{number}.png" for number in range(3)]
    )
    assert opened(decomposed).classes == (CAFE,)
    draw(decomposed / CAFE / "a.png")
    assert refusal(decomposed) == (
        f"{decomposed}: {CAFE} is there in both forms of Unicode (NFC and NFD); remove one"
    )
    assert "classes names a class twice" in refusal(composed, classes=[CAFE, DECOMPOSED])


def test_a_name_that_is_no_text_is_told(root: Path) -> None:
    draw(root / "red" / os.fsdecode(b"caf\xe9.png"))
    assert (
        refusal(root)
        == f"{root}/red: the name b'caf\\xe9.png' is not UTF-8; rename it (convmv does many at once)"
    )


def test_paths_with_spaces_and_other_writing_are_read_without_a_locale_or_a_home(tmp_path: Path) -> None:
    root = tmp_path / "mes photos" / "写真"
    for number in range(3):
        draw(root / "赤 い" / f"图 {number}.png")
    program = (
        "import sys\n"
        "from shard_descriptors.images.image_folder import ImageFolderShard\n"
        "shard = ImageFolderShard(root=sys.argv[1], validation_share=0, test_share=0)\n"
        "sys.stdout.buffer.write(repr((shard.classes, shard.split('train').ids)).encode())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "LANG")}
    done = subprocess.run(
        [sys.executable, "-c", program, root],
        capture_output=True,
        check=True,
        env=environment | {"LC_ALL": "C"},
    )
    assert done.stdout.decode() == repr((("赤 い",), [f"赤 い/图 {number}.png" for number in range(3)]))


ROWS = 12


def saved(path: Path, images: list[Any], labels: list[Any], label: Any = None) -> Path:
    """A saved data set of images and labels, of which some are not there."""
    file = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"image": file, "label": label or datasets.ClassLabel(names=list(CLASSES))})
    table = datasets.Dataset.from_dict({"image": images, "label": labels}, features)
    if {"bytes": None, "path": None} not in images:  # which `datasets` does not save as an image
        table = table.cast_column("image", datasets.Image())
    table.save_to_disk(path)
    return path


@pytest.fixture
def images(root: Path) -> list[Any]:
    return [{"bytes": file.read_bytes(), "path": file.name} for file in sorted(root.glob("*/*"))]


LABELS = [number // 4 for number in range(ROWS)]


def test_rows_without_an_image_or_a_label_are_unreadable(tmp_path: Path, images: list[Any]) -> None:
    empty = {"bytes": None, "path": None}
    data = saved(tmp_path / "d", [*images, images[0], None, empty], [*LABELS, None, 0, 0])
    shard = opened(data, source="huggingface", max_unreadable=0.2)
    assert counts(shard) == {"blue": 4, "green": 4, "red": 4}
    assert shard.left_out == {"images that cannot be used": 3}
    said = refusal(data, source="huggingface")
    assert said.startswith("3 of 15 files cannot be used") and said.endswith(f"{data}[train][12]: no label")
    unread = opened(data, source="huggingface", check="header", max_unreadable=0.2)
    assert unread.split("train").ids == shard.split("train").ids


@pytest.mark.parametrize("bad", ["", None, " "])
def test_labels_that_are_texts_follow_the_same_rule(
    tmp_path: Path, images: list[Any], bad: str | None
) -> None:
    names = [DECOMPOSED if label == 0 else CLASSES[label] for label in LABELS]
    data = saved(tmp_path / "d", [*images, images[0]], [*names, bad], datasets.Value("string"))
    shard = opened(data, source="huggingface", max_unreadable=0.1)
    assert counts(shard) == {CAFE: 4, "green": 4, "red": 4}
    assert shard.left_out == {"images that cannot be used": 1}


def test_labels_that_are_fractions_are_refused_by_their_column(tmp_path: Path, images: list[Any]) -> None:
    data = saved(tmp_path / "d", images, [float("nan"), *LABELS[1:]], datasets.Value("float32"))
    assert "the column 'label' holds numbers without names" in refusal(data, source="huggingface")


def test_a_split_without_labels_is_left_out_and_told(tmp_path: Path, images: list[Any]) -> None:
    whole = datasets.load_from_disk(str(saved(tmp_path / "a", images, LABELS)))
    hidden = datasets.load_from_disk(str(saved(tmp_path / "b", images[:5], [-1, None, None, -1, -1])))
    datasets.DatasetDict({"train": whole, "test": hidden}).save_to_disk(tmp_path / "both")
    shard = opened(tmp_path / "both", source="huggingface", split="published")
    assert [len(shard.split(name)) for name in SPLITS] == [12, 0, 0]
    assert shard.left_out == {"rows of the split test, which has no labels": 5}
    assert "holds no images with a label" in refusal(tmp_path / "b", source="huggingface")


def test_a_class_that_a_later_split_alone_names_is_one(tmp_path: Path, images: list[Any]) -> None:
    one = datasets.load_from_disk(str(saved(tmp_path / "a", images, LABELS)))
    more = datasets.ClassLabel(names=["yellow", *CLASSES])
    other = datasets.load_from_disk(str(saved(tmp_path / "b", images[:5], [0, 1, 1, 2, 3], more)))
    datasets.DatasetDict({"train": one, "test": other}).save_to_disk(tmp_path / "both")
    shard = opened(tmp_path / "both", source="huggingface", split="published")
    assert shard.classes == (*CLASSES, "yellow")
    assert shard.class_counts("test") == {"blue": 2, "green": 1, "red": 1, "yellow": 1}


def test_a_row_without_a_file_name_belongs_to_no_group(tmp_path: Path, images: list[Any]) -> None:
    nameless = {"bytes": images[0]["bytes"], "path": None}
    data = saved(tmp_path / "d", [*images, nameless], [*LABELS, 0])
    settings: dict[str, Any] = {"source": "huggingface", "group_pattern": "[0-9]+"}
    assert "[12]: no file name, which group_pattern needs" in refusal(data, **settings)
    assert sum(counts(opened(data, max_unreadable=0.1, **settings)).values()) == ROWS
    assert sum(counts(opened(data, source="huggingface")).values()) == ROWS + 1


def test_a_column_that_holds_no_image_files_is_named(tmp_path: Path) -> None:
    label = datasets.ClassLabel(names=["a", "b"])
    for number, (feature, cell) in enumerate(
        [
            (datasets.Value("int64"), 3),
            (datasets.Value("string"), None),
            (datasets.Sequence(datasets.Value("string")), ["a"]),
        ]
    ):
        features = datasets.Features({"image": feature, "label": label})
        table = datasets.Dataset.from_dict({"image": [cell], "label": [0]}, features)
        table.save_to_disk(tmp_path / str(number))
        said = refusal(tmp_path / str(number), source="huggingface")
        assert "holds no image" in said


def test_a_picture_is_the_same_in_a_folder_and_in_a_data_set(tmp_path: Path) -> None:
    """A drawing in transparency alone, and one of sixteen bits."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:, 3] = 255
    deep = np.where(pixels[..., 3] > 0, np.uint16(40_000), np.uint16(0))
    for word, image in (("blue", Image.fromarray(pixels)), ("red", Image.fromarray(deep))):
        (tmp_path / "f" / word).mkdir(parents=True)
        image.save(tmp_path / "f" / word / "a.png")
    files = sorted((tmp_path / "f").glob("*/*"))
    data = saved(tmp_path / "d", [{"bytes": one.read_bytes(), "path": one.name} for one in files], [0, 2])
    folder, table = opened(tmp_path / "f").split("train"), opened(data, source="huggingface").split("train")
    for one, other in zip(folder, table, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
    assert folder[0]["image"][0, 0].tolist() == [255] * 3
    assert folder[1]["image"][0, -1].tolist() == [40_000 >> 8] * 3
